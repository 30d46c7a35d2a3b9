#!/usr/bin/env python3
"""Counts of a CTest JUnit report: prints "passed failed skipped"."""
import sys
import xml.etree.ElementTree as ElementTree

suite = ElementTree.parse(sys.argv[1]).getroot()
status = [case.get("status") for case in suite.iter("testcase")]
failed = status.count("fail")
skipped = status.count("notrun") + status.count("disabled")
print(len(status) - failed - skipped, failed, skipped)
