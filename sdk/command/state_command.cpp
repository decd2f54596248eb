// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <penstock/error.h>
#include <penstock/state/verify.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "output.h"

namespace penstock::command {

namespace {

using Json = nlohmann::ordered_json;

struct Arguments {
  std::string directory;
  bool json = false;
};

/// Names may hold bytes that are no UTF-8.
std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

std::string useText(state::DirectoryUse use, const std::string& holder) {
  switch (use) {
    case state::DirectoryUse::Nobody:
      return "not in use";
    case state::DirectoryUse::Shared:
      return "in use, shared, by " + holder + " or others";
    case state::DirectoryUse::Exclusive:
      return "in use by " + holder;
  }
  return {};
}

const char* useName(state::DirectoryUse use) {
  switch (use) {
    case state::DirectoryUse::Nobody:
      return "nobody";
    case state::DirectoryUse::Shared:
      return "shared";
    case state::DirectoryUse::Exclusive:
      return "exclusive";
  }
  return "";
}

Json jsonOf(const state::VerifyReport& report) {
  Json json{{"directory", report.directory},
            {"journal", report.journalId},
            {"use", useName(report.use)},
            {"holder", report.holder},
            {"last", report.last.value},
            {"synced", report.synced.value},
            {"sound", report.sound()},
            {"refused", report.refused()},
            {"read",
             {{"files", report.files},
              {"bytes", report.bytes},
              {"frames", report.frames},
              {"sections", report.sections},
              {"blocks", report.blocks}}},
            {"damages", Json::array()},
            {"torn", nullptr},
            {"leftovers", report.leftovers},
            {"keptAside", report.keptAside},
            {"notices", report.notices}};
  for (const state::Damage& damage : report.damages) {
    Json logs = Json::array();
    for (const state::LogSpan& span : damage.logs) {
      logs.push_back({{"log", span.log}, {"start", span.start}, {"end", span.end}});
    }
    json["damages"].push_back({{"kind", nameOf(damage.kind)},
                               {"file", damage.file},
                               {"offset", damage.offset},
                               {"bytes", damage.bytes},
                               {"sequence", damage.sequence.value},
                               {"refusesDirectory", damage.refusesDirectory},
                               {"stores", damage.stores},
                               {"logs", logs},
                               {"text", damage.text}});
  }
  if (report.torn) {
    json["torn"] = {{"file", report.torn->file},
                    {"offset", report.torn->offset},
                    {"bytes", report.torn->bytes},
                    {"sequence", report.torn->sequence.value},
                    {"underWay", report.torn->underWay}};
  }
  return json;
}

std::string textOf(const state::VerifyReport& report) {
  std::string text = fmt::format(
      "directory  {}\njournal    {}, {}\nframes     up to {}, known to be on disk up to {}\n"
      "read       {} in {} files: {} frames, {} sections, {} blocks\n",
      report.directory, report.journalId.empty() ? "not known" : report.journalId,
      useText(report.use, report.holder), report.last.value, report.synced.value,
      bytesText(report.bytes), report.files, report.frames, report.sections, report.blocks);
  for (const state::Damage& damage : report.damages) {
    text += fmt::format("\n{:<10} {}\n", nameOf(damage.kind), damage.text);
    if (damage.refusesDirectory) text += "           opening the directory is refused\n";
    for (const std::string& store : damage.stores) {
      text += fmt::format("           store {:?} cannot be read\n", store);
    }
    for (const state::LogSpan& span : damage.logs) {
      text += fmt::format("           log {:?} cannot be read from {} to {}\n", span.log,
                          span.start, span.end);
    }
    if (!damage.refusesDirectory && damage.stores.empty() && damage.logs.empty()) {
      text += "           no store or log needs it\n";
    }
  }
  if (report.torn) {
    const state::TornTail& torn = *report.torn;
    text += fmt::format("\ntorn tail  {}: {} bytes at offset {} (sequence {}), {}\n", torn.file,
                        torn.bytes, torn.offset, torn.sequence.value,
                        torn.underWay ? "most likely a write that was under way"
                                      : "never acknowledged; the next opening cuts them off and "
                                        "keeps them aside");
  }
  for (const std::string& path : report.leftovers) {
    text += fmt::format("\nleft over  {}; the next opening removes it\n", path);
  }
  for (const std::string& path : report.keptAside) {
    text += fmt::format("\nkept aside {}; delete it when you have seen enough of it\n", path);
  }
  for (const std::string& notice : report.notices) text += fmt::format("\nnotice     {}\n", notice);
  if (report.sound()) text += "\nsound\n";
  return text;
}

void verify(const Arguments& arguments) {
  const state::VerifyReport report = [&] {
    ProgressMeter meter("verifying");
    state::VerifyOptions options;
    options.progress = [&](const state::VerifyProgress& progress) {
      meter.show(progress.bytesDone, progress.bytesTotal);
    };
    return state::verifyJournal(arguments.directory, options);
  }();
  print(arguments.json ? dumped(jsonOf(report)) : textOf(report));
  if (report.sound()) return;
  throw Error(ErrorCode::RestoreState,
              fmt::format("{}: damaged in {} {}; docs/operations.md says what to do",
                          report.directory, report.damages.size(),
                          report.damages.size() == 1 ? "place" : "places"));
}

/// A subcommand with what all have. `run` is called when it was asked for.
CLI::App* addSubcommand(CLI::App& command, const std::string& description,
                        const std::shared_ptr<Arguments>& arguments,
                        const std::function<void(Arguments&)>& run) {
  command.description(description);
  command.add_option("directory", arguments->directory, "of a journal")->required();
  command.callback([arguments, run] { run(*arguments); });
  return &command;
}

}  // namespace

void addStateCommand(CLI::App& app) {
  CLI::App& state = *app.add_subcommand("state", "Look into, verify and copy state directories");
  state.require_subcommand(1);
  const auto arguments = std::make_shared<Arguments>();

  CLI::App* verified =
      addSubcommand(*state.add_subcommand("verify"),
                    "Read everything and name what is damaged; changes nothing", arguments, verify);
  verified->add_flag("--json", arguments->json, "as one JSON object");
}

}  // namespace penstock::command
