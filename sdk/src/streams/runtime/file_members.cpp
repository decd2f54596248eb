// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/file_members.h"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace penstock::streams {
namespace {

constexpr std::string_view kPrefix = "member/";

std::string key(std::uint64_t number) { return std::string(kPrefix) + std::to_string(number); }

}  // namespace

FileMembers::FileMembers(std::shared_ptr<state::Journal> journal, std::string application,
                         state::StoreId groupStore)
    : journal_(std::move(journal)),
      application_(std::move(application)),
      groupStore_(groupStore),
      group_(journal_->store(groupStore)) {
  while (!(claim_ = journal_->tryClaim(claimName(number_)))) ++number_;
  state::Commit commit;
  commit.put(groupStore_, key(number_), "");
  journal_->commit(commit, state::Durability::Buffered);
}

FileMembers::~FileMembers() {
  try {
    state::Commit commit;
    commit.erase(groupStore_, key(number_));
    journal_->commit(commit, state::Durability::Buffered);
  } catch (const Error&) {
    // The others find the claim free and forget us.
  }
}

std::string FileMembers::claimName(std::uint64_t number) const {
  return application_ + "/" + key(number);
}

std::vector<std::uint64_t> FileMembers::living() {
  std::vector<std::uint64_t> numbers;
  group_->scanPrefix(kPrefix, [&](std::string_view name, std::string_view) {
    name.remove_prefix(kPrefix.size());
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error == std::errc() && end == name.data() + name.size()) numbers.push_back(number);
    return true;
  });
  state::Commit dead;
  std::vector<std::unique_ptr<state::Claim>> claims;  // held until their keys are gone
  std::erase_if(numbers, [&](std::uint64_t number) {
    if (number == number_) return true;
    auto claim = journal_->tryClaim(claimName(number));
    if (!claim) return false;
    dead.erase(groupStore_, key(number));
    claims.push_back(std::move(claim));
    return true;
  });
  if (!claims.empty()) journal_->commit(dead, state::Durability::Buffered);
  numbers.push_back(number_);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

std::int32_t taskQuota(std::size_t rank, std::size_t members, std::int32_t subtopology,
                       std::int32_t partitions) {
  const auto count = static_cast<std::int64_t>(members);
  const std::int64_t turn = (static_cast<std::int64_t>(rank) + count - subtopology % count) % count;
  return static_cast<std::int32_t>(partitions / count + (turn < partitions % count ? 1 : 0));
}

}  // namespace penstock::streams
