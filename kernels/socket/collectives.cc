// Collectives over the star, in pieces, so that rank 0 needs little memory whatever the size.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "kernels/elements.h"
#include "kernels/socket/star.h"

namespace farscale {
namespace {

constexpr int64_t kPieceBytes = 1 << 20;

struct Piece {
  int64_t first = 0;  // bytes
  int64_t bytes = 0;
};

// `bytes` in pieces of whole elements.
std::vector<Piece> pieces_of(int64_t bytes, int64_t most) {
  std::vector<Piece> pieces;
  for (int64_t first = 0; first < bytes; first += most) pieces.push_back({first, std::min(most, bytes - first)});
  return pieces;
}

// The buffers of one collective as seen by one rank.
struct Work {
  const Star& star;
  const CollectiveProblem& problem;
  const std::byte* send;
  std::byte* receive;

  int64_t part() const { return problem.bytes / problem.ranks; }
};

// Rank 0's sum of the same piece of every rank.
class Sum {
 public:
  explicit Sum(NumberType type) : type_(type), element_(static_cast<int64_t>(bytes_per_element(type))) {}

  void start() { sum_.clear(); }
  void add(const void* piece, int64_t bytes) {
    const auto count = static_cast<size_t>(bytes / element_);
    one_.resize(count);
    decoder(type_)(piece, 0, static_cast<int64_t>(count), one_.data());
    sum_.resize(count, 0.0);
    for (size_t i = 0; i < count; ++i) sum_[i] += one_[i];
  }
  void store(void* piece) {
    if (type_ == NumberType::kInt8) {  // modulo 256
      for (double& value : sum_) value = static_cast<int8_t>(static_cast<uint8_t>(static_cast<int64_t>(value)));
    }
    encode(type_, sum_.data(), static_cast<int64_t>(sum_.size()), piece, 0);
  }

 private:
  NumberType type_;
  int64_t element_;
  std::vector<double> sum_, one_;
};

// Sums one piece of every rank's send buffer; the owner (or, below 0, everyone) has the sum at `result`.
void reduce_piece(const Work& work, const Piece& piece, int owner, std::byte* result, Sum& sum) {
  const Star& star = work.star;
  if (star.rank() != 0) {
    star.send(0, work.send + piece.first, piece.bytes);
    if (owner < 0 || owner == star.rank()) star.receive(0, result, piece.bytes);
    return;
  }
  std::vector<std::byte> other(static_cast<size_t>(piece.bytes));
  sum.start();
  sum.add(work.send + piece.first, piece.bytes);
  for (int rank = 1; rank < star.size(); ++rank) {
    star.receive(rank, other.data(), piece.bytes);
    sum.add(other.data(), piece.bytes);
  }
  sum.store(owner <= 0 ? result : other.data());
  const std::byte* summed = owner <= 0 ? result : other.data();
  for (int rank = 1; rank < star.size(); ++rank) {
    if (owner < 0 || owner == rank) star.send(rank, summed, piece.bytes);
  }
}

void all_reduce(const Work& work) {
  Sum sum(work.problem.type);
  for (const Piece& piece : pieces_of(work.problem.bytes, kPieceBytes)) {
    reduce_piece(work, piece, -1, work.receive + piece.first, sum);
  }
}

// In place, results land at the start of the buffer: never beyond what was already sent, as parts come in order.
void reduce_scatter(const Work& work) {
  Sum sum(work.problem.type);
  const bool in_place = work.send == work.receive;
  std::vector<std::byte> aside(in_place ? static_cast<size_t>(work.part()) : 0);
  std::byte* to = in_place ? aside.data() : work.receive;
  for (int owner = 0; owner < work.star.size(); ++owner) {
    for (Piece piece : pieces_of(work.part(), kPieceBytes)) {
      std::byte* result = to + piece.first;
      piece.first += owner * work.part();
      reduce_piece(work, piece, owner, result, sum);
    }
  }
  if (in_place) std::memcpy(work.receive, aside.data(), aside.size());
}

void broadcast(const Work& work) {
  const Star& star = work.star;
  if (star.rank() == 0 && work.send != work.receive) {
    std::memcpy(work.receive, work.send, static_cast<size_t>(work.problem.bytes));
  }
  for (const Piece& piece : pieces_of(work.problem.bytes, kPieceBytes)) {
    if (star.rank() != 0) star.receive(0, work.receive + piece.first, piece.bytes);
    for (int rank = 1; star.rank() == 0 && rank < star.size(); ++rank) {
      star.send(rank, work.receive + piece.first, piece.bytes);
    }
  }
}

void all_gather(const Work& work) {
  const Star& star = work.star;
  std::byte* own = work.receive + star.rank() * work.part();
  const std::byte* from = work.send == work.receive ? own : work.send;
  if (from != own) std::memcpy(own, from, static_cast<size_t>(work.part()));
  if (star.rank() != 0) {
    star.send(0, own, work.part());
    return star.receive(0, work.receive, work.problem.bytes);
  }
  for (int rank = 1; rank < star.size(); ++rank) {
    star.receive(rank, work.receive + rank * work.part(), work.part());
  }
  for (int rank = 1; rank < star.size(); ++rank) star.send(rank, work.receive, work.problem.bytes);
}

// Rank 0 holds one piece of every pair of ranks at a time: pieces get smaller as ranks get more.
void all_to_all(const Work& work) {
  const Star& star = work.star;
  const int64_t ranks = star.size(), element = static_cast<int64_t>(bytes_per_element(work.problem.type));
  const int64_t most = std::max<int64_t>(1, 64 * kPieceBytes / (ranks * ranks) / element) * element;
  std::vector<std::byte> table;  // rank 0: from x to
  for (const Piece& piece : pieces_of(work.part(), most)) {
    const auto place = [&](int64_t peer) { return peer * work.part() + piece.first; };
    if (star.rank() != 0) {
      for (int to = 0; to < ranks; ++to) star.send(0, work.send + place(to), piece.bytes);
      for (int from = 0; from < ranks; ++from) star.receive(0, work.receive + place(from), piece.bytes);
      continue;
    }
    table.resize(static_cast<size_t>(ranks * ranks * piece.bytes));
    const auto cell = [&](int64_t from, int64_t to) { return table.data() + (from * ranks + to) * piece.bytes; };
    const auto bytes = static_cast<size_t>(piece.bytes);
    for (int to = 0; to < ranks; ++to) std::memcpy(cell(0, to), work.send + place(to), bytes);
    for (int from = 1; from < ranks; ++from) star.receive(from, cell(from, 0), ranks * piece.bytes);
    for (int from = 0; from < ranks; ++from) std::memcpy(work.receive + place(from), cell(from, 0), bytes);
    for (int to = 1; to < ranks; ++to) {
      for (int from = 0; from < ranks; ++from) star.send(to, cell(from, to), piece.bytes);
    }
  }
}

// Each rank's bytes to the next of the ring, through rank 0.
void send_recv(const Work& work) {
  const Star& star = work.star;
  std::vector<std::byte> own, other;
  for (const Piece& piece : pieces_of(work.problem.bytes, kPieceBytes)) {
    std::byte* to = work.receive + piece.first;
    if (star.rank() != 0) {
      star.send(0, work.send + piece.first, piece.bytes);
      star.receive(0, to, piece.bytes);
      continue;
    }
    own.assign(work.send + piece.first, work.send + piece.first + piece.bytes);
    for (int rank = 1; rank < star.size(); ++rank) {  // the piece of `rank` is taken, then that of the one before given
      other.resize(own.size());
      star.receive(rank, other.data(), piece.bytes);
      star.send(rank, own.data(), piece.bytes);
      std::swap(own, other);
    }
    std::memcpy(to, own.data(), own.size());
  }
}

}  // namespace

void run_collective(const Star& star, const CollectiveProblem& problem, const void* send, void* receive) {
  const Work work{star, problem, static_cast<const std::byte*>(send), static_cast<std::byte*>(receive)};
  switch (problem.kind) {
    case CollectiveKind::kAllReduce:
      return all_reduce(work);
    case CollectiveKind::kReduceScatter:
      return reduce_scatter(work);
    case CollectiveKind::kBroadcast:
      return broadcast(work);
    case CollectiveKind::kAllGather:
      return all_gather(work);
    case CollectiveKind::kAllToAll:
      return all_to_all(work);
    case CollectiveKind::kSendRecv:
      return send_recv(work);
  }
}

}  // namespace farscale
