// Texts over the star.
#include "kernels/socket/star.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

namespace farscale {
namespace {

// Before each text: which call it belongs to, so that ranks in different calls are found out, and its size.
struct Head {
  std::array<char, 24> call{};
  uint64_t bytes = 0;
};

}  // namespace

Star::Star(Meeting& meeting, Channel channel)
    : meeting_(meeting), channel_(std::move(channel)), slot_(meeting.lifeline().new_slot()) {
  for (int other = 0; other < size(); ++other) {
    sending_to_.push_back(fmt::format("sending to rank {}", other));
    receiving_from_.push_back(fmt::format("receiving from rank {}", other));
  }
}

template <typename Move>
void Star::move(const std::vector<std::string>& names, int other, int64_t bytes, Move&& move) const {
  const std::string& what = names[static_cast<size_t>(other)];
  const InCall inside(*slot_, what.c_str(), bytes);
  try {
    move(link(other));
  } catch (const LostConnection& error) {
    meeting_.wait_for_the_loss_to_be_told();
    throw CallError(fmt::format("{}: {} is lost: {}", what, meeting_.described(other), error.what()));
  } catch (const CallError& error) {
    throw CallError(fmt::format("{}: {}: {}", what, meeting_.described(other), error.what()));
  }
}

void Star::send(int to, const void* data, int64_t bytes) const {
  move(sending_to_, to, bytes, [&](const Connection& link) { link.send(data, static_cast<size_t>(bytes)); });
}

void Star::receive(int from, void* data, int64_t bytes) const {
  move(receiving_from_, from, bytes, [&](const Connection& link) { link.receive(data, static_cast<size_t>(bytes)); });
}

void Star::send_text(const char* call, int to, const std::string& text) const {
  Head head{.call = {}, .bytes = text.size()};
  std::strncpy(head.call.data(), call, head.call.size() - 1);
  send(to, &head, sizeof head);
  send(to, text.data(), static_cast<int64_t>(text.size()));
}

std::string Star::receive_text(const char* call, int from) const {
  Head head;
  receive(from, &head, sizeof head);
  if (std::strncmp(head.call.data(), call, head.call.size() - 1) != 0) {
    throw CallError(fmt::format("rank {} is in {}, {} in {}: every rank must make the same calls", rank(), call,
                                meeting_.described(from), head.call.data()));
  }
  std::string text(head.bytes, '\0');
  receive(from, text.data(), static_cast<int64_t>(text.size()));
  return text;
}

std::vector<std::string> Star::collect(const char* call, const std::string& own) const {
  if (rank() != 0) {
    send_text(call, 0, own);
    return {};
  }
  std::vector<std::string> all = {own};
  for (int other = 1; other < size(); ++other) all.push_back(receive_text(call, other));
  return all;
}

std::string Star::deliver(const char* call, const std::string& text) const {
  if (rank() != 0) return receive_text(call, 0);
  for (int other = 1; other < size(); ++other) send_text(call, other, text);
  return text;
}

std::string Star::bring(const char* call, const std::string& text, int from) const {
  if (from == 0 || (rank() != 0 && rank() != from)) return text;
  if (rank() == 0) return receive_text(call, from);
  send_text(call, 0, text);
  return text;
}

}  // namespace farscale
