// What the name of a measured system tells of its network: "H100 80GB SXM, 2x p5.48xlarge on EKS, EFA".
#pragma once

#include <cstdint>
#include <set>
#include <string>

namespace farscale {

struct Fabric {
  std::string gpu;                   // family and form, without memory: "H100 SXM"
  std::set<std::string> words;       // what the name says of the network: without GPU, counts and remarks in brackets
  int64_t domain = 8;                // GPUs of one scale-up domain
  double domain_bytes_per_s = 0;     // all cards of one domain, one way, by name or data sheet; 0: unknown
  double in_domain_bytes_per_s = 0;  // bus bandwidth inside a domain that the data sheet lets expect; 0: unknown
  bool named_rate = false;           // the name itself tells the cards' rate
  bool boosted = true;               // two and three domains use both ways of the cards (NCCL's trees)
  bool software_transport = false;   // EFA, TCPX: hops take several times as long
  // Of one kind: most words are the same. Systems that name their networks differently say nothing about each other.
  bool same_network(const Fabric& other) const;
  std::string key() const;
};

// `gpus_per_node` as the table has it.
Fabric fabric_of(const std::string& system, int64_t gpus_per_node);

// The shipped hardware that a normalised name ("H100 SXM 80") means: of its form and memory if there is one of them; ""
// when the family is not shipped.
std::string shipped_hardware_like(const std::string& hardware);

}  // namespace farscale
