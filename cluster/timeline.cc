// The time of a profiled step under one draw of the conditions.
#include "cluster/timeline.h"

#include <algorithm>

#include "cluster/step_prices.h"

namespace farscale {
namespace {

// How a pass meets the communication stream.
struct PassStart {
  double backlog = 0;         // seconds that the stream still has to do
  double stretch_factor = 1;  // what blocking collectives spread over the pass add to its length
  double share = 1;           // of the stream's link, left by what else takes it during the pass
  bool reduces = false;
};

// What communication adds to one pass: waiting for gathers, compute slowed beside it, and what is left to send at the
// end of the pass.
struct PassTimes {
  double waited = 0, slowed = 0, left = 0;
  LinkTimes busy{};
  double shown() const { return waited + slowed; }
};

// Gathers are issued one stretch ahead (prefetch), gradients when their stretch ends, on one stream in that order.
PassTimes run_pass(const std::vector<Stretch>& stretches, const Prices& prices, const StepConditions& conditions,
                   const PassStart& start) {
  PassTimes pass;
  double backlog = start.backlog, awaited = 0;
  const auto issue = [&](int i) {
    if (i < 0) return;
    backlog += prices[size_t(i)];
    pass.busy[prices.link(size_t(i))] += prices[size_t(i)];
  };
  const auto gather = [&](size_t i) {
    if (i >= stretches.size() || stretches[i].gather < 0) return;
    issue(stretches[i].gather);
    awaited = backlog;
  };
  gather(0);
  for (size_t i = 0; i < stretches.size(); ++i) {
    const Stretch& stretch = stretches[i];
    pass.waited += awaited;
    backlog -= awaited;
    awaited = 0;
    gather(i + 1);
    const double work = start.stretch_factor * conditions.overhead * dot(stretch.work, conditions.factors);
    const double slowed = backlog > 0 ? conditions.interference * std::min(work, backlog / start.share) : 0;
    const double served = std::min(backlog, start.share * (work + slowed));
    pass.slowed += slowed;
    backlog -= served;
    awaited = std::max(0.0, awaited - served);
    if (!start.reduces) continue;
    issue(stretch.reduce);
    issue(stretch.replica);
  }
  pass.left = backlog;
  return pass;
}

// Collectives beside the stream, by when they run: blocking ones add up; the others hide behind their pass, but for the
// longest. Messages between pipeline stages take their link beside both.
struct Others {
  std::array<double, 2> blocking{}, hidden{}, longest{}, messages{};  // of a micro-batch's forward and backward
  std::array<LinkTimes, 2> busy{};                                    // messages left out
  double once = 0;                                                    // with the optimizer
  LinkTimes once_busy{};
  double exposed(size_t pass, double compute_s) const {
    return blocking[pass] + (hidden[pass] <= 0 ? 0 : std::max(longest[pass], hidden[pass] - compute_s));
  }
  double message() const { return messages[0] + messages[1]; }
};

Others sum_others(const StepProfile& profile, const Prices& prices) {
  Others others;
  for (const CollectiveProfile& one : profile.collectives) {
    const double time_s = prices[one.price], all_s = one.count * time_s;
    const size_t pass = one.pass == Pass::kForward ? 0 : 1;
    if (one.pass == Pass::kOptimizer) {
      others.once += all_s;
      others.once_busy[prices.link(one.price)] += all_s;
      continue;
    }
    if (profile.prices[one.price].group == GroupName::kPipeline) {
      others.messages[pass] += all_s;
      continue;
    }
    others.busy[pass][prices.link(one.price)] += all_s;
    if (one.blocking) {
      others.blocking[pass] += all_s;
    } else {
      others.hidden[pass] += all_s;
      others.longest[pass] = std::max(others.longest[pass], time_s);
    }
  }
  return others;
}

// The compute of one pass, made longer by what blocks it.
PassStart start_of(const Others& others, const Prices& prices, const Layout& layout, size_t pass, double compute_s) {
  const double whole_s = compute_s + others.blocking[pass];
  if (compute_s <= 0) return {};
  const Link stream = prices.link(GroupName::kShard);
  double taken_s = others.busy[pass][size_t(stream)];
  if (layout.interleave > 1 && prices.link(GroupName::kPipeline) == stream) taken_s += others.messages[pass];
  return {.stretch_factor = whole_s / compute_s, .share = std::max(0.0, 1 - taken_s / whole_s)};
}

// The stream over a step's micro-batches: the first, those after it, and the last, which always reduces.
struct StreamTimes {
  PassTimes first, forward, backward, last;
  double left = 0;  // to send when the last pass is over
  double repeats = 1;
  double micro_batch() const { return forward.shown() + backward.shown(); }
  double exposed() const { return first.shown() + (repeats - 1) * micro_batch() + last.shown() + left; }
  double busy(size_t link) const {
    return first.busy[link] + (repeats - 1) * (forward.busy[link] + backward.busy[link]) + last.busy[link];
  }
};

// What a micro-batch leaves to send goes on under the next one.
StreamTimes run_stream(const StepProfile& profile, const Prices& prices, const StepConditions& conditions,
                       PassStart forward, PassStart backward, double repeats) {
  const auto run = [&](const std::vector<Stretch>& stretches, PassStart& start, double backlog) {
    start.backlog = backlog;
    return run_pass(stretches, prices, conditions, start);
  };
  StreamTimes stream{.repeats = repeats};
  stream.first = stream.forward = run(profile.forward_stretches, forward, 0);
  backward.reduces = profile.reduces_every_pass || repeats == 1;
  stream.last = stream.backward = run(profile.backward_stretches, backward, stream.first.left);
  stream.left = stream.last.left;
  if (repeats == 1) return stream;
  if (stream.backward.left > 0) stream.forward = run(profile.forward_stretches, forward, stream.backward.left);
  if (!backward.reduces || stream.forward.left > 0) {
    backward.reduces = true;
    stream.last = run(profile.backward_stretches, backward, stream.forward.left);
  }
  const double grows = profile.reduces_every_pass ? std::max(0.0, stream.last.left - stream.backward.left) : 0;
  stream.left = stream.last.left + (repeats - 2) * grows;
  return stream;
}

struct PipelineTimes {
  double bubble = 0, messages = 0;
};

// 1F1B idles for pp - 1 micro-batches while it fills and drains, less with interleaved chunks, and that way through the
// stages takes its messages too (Narayanan et al., arXiv:2104.04473, section 2.2). Between them the first stage has pp
// micro-batches under way, whose round trip waits for every message. Interleaved chunks have twice as many: messages
// hide, those forward behind a backward pass and those back behind a forward one, as long as the card carries them, but
// for the first pp micro-batches, whose chunks follow each other at once. This is what the schedules of Megatron-LM
// give when they are played unit by unit (tests/pipeline_schedule.h), exactly while messages are shorter than a pass.
// `others_s`: what else takes the messages' link in a micro-batch.
PipelineTimes pipeline_times(const Layout& layout, const std::array<double, 2>& passes_s,
                             const std::array<double, 2>& messages_s, double others_s) {
  const double stages = double(layout.pp), repeats = double(std::max<int64_t>(1, layout.accumulation));
  const double chunks = double(std::max<int64_t>(1, layout.interleave)), after = std::max(0.0, repeats - stages);
  const double all_s = messages_s[0] + messages_s[1], micro_batch_s = passes_s[0] + passes_s[1];
  PipelineTimes times{.bubble = (stages - 1) * (micro_batch_s + all_s) / chunks};
  if (layout.interleave > 1) {
    const double others = 1 - 1 / chunks;
    const double longer_s = std::max(0.0, messages_s[0] - passes_s[1]) + std::max(0.0, messages_s[1] - passes_s[0]);
    times.messages = std::min(repeats, stages) * all_s * others +
                     after * std::max({0.0, all_s + others_s - micro_batch_s, longer_s * others});
  } else {
    times.messages = all_s * (std::min(repeats, stages - 1) - 1 + after * (stages - 1) / stages);
  }
  return times;
}

// Seconds that a step keeps its busiest link busy.
double busiest(const Others& others, const StreamTimes& stream, size_t message_link) {
  double most = 0;
  for (size_t link = 0; link < LinkTimes{}.size(); ++link) {
    const double messages_s = link == message_link ? others.message() : 0;
    const double micro_batch_s = others.busy[0][link] + others.busy[1][link] + messages_s;
    most = std::max(most, stream.repeats * micro_batch_s + stream.busy(link) + others.once_busy[link]);
  }
  return most;
}

// Seconds of compute and memory passes: of one micro-batch's passes, and of the optimizer.
struct Work {
  double forward = 0, backward = 0, optimizer = 0;
};

Work work_of(const StepProfile& profile, const StepConditions& conditions) {
  const auto seconds = [&](const ComponentTimes& times) {
    return conditions.overhead * dot(times, conditions.factors);
  };
  return {seconds(profile.forward), seconds(profile.backward), seconds(profile.optimizer)};
}

// What communication and the pipeline add to a step that so far is work alone.
void add_communication(StepTimes& times, const Work& work, const StepProfile& profile, const StepGroups& groups,
                       const Layout& layout, const StepConditions& conditions, double repeats) {
  const Prices prices(profile, groups, conditions);
  const Others others = sum_others(profile, prices);
  const StreamTimes stream = run_stream(profile, prices, conditions, start_of(others, prices, layout, 0, work.forward),
                                        start_of(others, prices, layout, 1, work.backward), repeats);
  const std::array<double, 2> beside_s = {others.exposed(0, work.forward), others.exposed(1, work.backward)};
  times.exposed_comm = repeats * (beside_s[0] + beside_s[1]) + stream.exposed() + others.once;
  const auto link = size_t(prices.link(GroupName::kPipeline));
  if (layout.pp > 1) {
    const std::array<double, 2> passes_s = {work.forward + beside_s[0] + stream.forward.shown(),
                                            work.backward + beside_s[1] + stream.backward.shown()};
    const PipelineTimes pipeline =
        pipeline_times(layout, passes_s, others.messages, others.busy[0][link] + others.busy[1][link]);
    times.bubble = pipeline.bubble;
    times.exposed_comm += pipeline.messages;
  }
  times.exposed_comm += std::max(0.0, busiest(others, stream, link) - times.total());
}

}  // namespace

StepTimes& StepTimes::operator+=(const StepTimes& other) {
  compute += other.compute, memory += other.memory, exposed_comm += other.exposed_comm;
  bubble += other.bubble, straggler += other.straggler, input += other.input;
  return *this;
}

StepTimes StepTimes::operator*(double factor) const {
  return {compute * factor, memory * factor,    exposed_comm * factor,
          bubble * factor,  straggler * factor, input * factor};
}

StepTimes step_times(const StepProfile& profile, const StepGroups& groups, const Layout& layout,
                     const StepConditions& conditions) {
  const double repeats = double(std::max<int64_t>(1, layout.accumulation));
  const Work work = work_of(profile, conditions);
  StepTimes times;
  const size_t memory = size_t(Component::kMemory);
  times.memory = conditions.overhead * conditions.factors[memory] *
                 (repeats * (profile.forward[memory] + profile.backward[memory]) + profile.optimizer[memory]);
  times.compute = repeats * (work.forward + work.backward) + work.optimizer - times.memory;
  add_communication(times, work, profile, groups, layout, conditions, repeats);
  const double busy = times.compute + times.memory + times.bubble;
  times.straggler = (conditions.straggling.step + conditions.straggling.layer) * busy;
  if (conditions.input_bytes_per_s > 0) {
    times.input = std::max(0.0, repeats * profile.input_bytes / conditions.input_bytes_per_s - times.total());
  }
  return times;
}

}  // namespace farscale
