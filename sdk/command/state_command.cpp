// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <penstock/error.h>
#include <penstock/state/backup.h>
#include <penstock/state/inspect.h>
#include <penstock/state/journal.h>
#include <penstock/state/repair.h>
#include <penstock/state/verify.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "output.h"
#include "state_transfer.h"
#include "state_values.h"

namespace penstock::command {

namespace {

using Json = nlohmann::ordered_json;

struct StateArguments : TransferArguments {
  std::string target;
  bool yes = false;
};

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

void verify(const StateArguments& arguments) {
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
  throw Error(
      ErrorCode::RestoreState,
      fmt::format("{}: damaged in {} {}; docs/operations.md says what to do", report.directory,
                  report.damages.size(), report.damages.size() == 1 ? "place" : "places"));
}

void stat(const StateArguments& arguments) {
  const state::JournalDescription found = state::inspectJournal(arguments.directory);
  if (arguments.json) {
    Json json{{"directory", found.directory},
              {"journal", found.journalId},
              {"use", useName(found.use)},
              {"holder", found.holder},
              {"last", found.last.value},
              {"synced", found.synced.value},
              {"epoch", fmt::format("{:016x}", found.epoch)},
              {"epochs", found.epochs},
              {"files", Json::object()},
              {"stores", Json::array()},
              {"logs", Json::array()},
              {"damages", found.damages}};
    for (const state::FileTotal& total : found.files) {
      json["files"][total.kind] = {{"files", total.files}, {"bytes", total.bytes}};
    }
    for (const state::StoreDescription& store : found.stores) {
      json["stores"].push_back({{"name", store.name},
                                {"engine", state::toString(store.engine)},
                                {"keys", store.keys ? Json(*store.keys) : Json()},
                                {"snapshotBytes", store.snapshotBytes},
                                {"changedBytes", store.changedBytes}});
    }
    for (const state::LogDescription& log : found.logs) {
      json["logs"].push_back({{"name", log.name},
                              {"start", log.start},
                              {"end", log.end},
                              {"bytes", log.bytes},
                              {"retentionMs", log.retention.maxAgeMs},
                              {"retentionBytes", log.retention.maxBytes}});
    }
    return print(dumped(json));
  }
  std::string text = fmt::format(
      "directory  {}\njournal    {}, {}\nframes     up to {}, known to be on disk up to {}\n"
      "epoch      {:016x}, {} known\n\n{:<12} {:>6} {:>12}\n",
      found.directory, found.journalId, useText(found.use, found.holder), found.last.value,
      found.synced.value, found.epoch, found.epochs, "files", "", "bytes");
  for (const state::FileTotal& total : found.files) {
    if (total.files == 0) continue;
    text += fmt::format("{:<12} {:>6} {:>12}\n", total.kind, total.files, bytesText(total.bytes));
  }
  if (!found.stores.empty()) {
    text += fmt::format("\n{:<40} {:>12} {:>12} {:>12}  {}\n", "store", "keys", "snapshot",
                        "changes", "engine");
  }
  for (const state::StoreDescription& store : found.stores) {
    text += fmt::format("{:<40} {:>12} {:>12} {:>12}  {}\n", store.name,
                        store.keys ? std::to_string(*store.keys) : "damaged",
                        bytesText(store.snapshotBytes), bytesText(store.changedBytes),
                        state::toString(store.engine));
  }
  if (!found.logs.empty()) {
    text += fmt::format("\n{:<40} {:>12} {:>12} {:>12}  {}\n", "log", "start", "end", "bytes",
                        "retention");
  }
  for (const state::LogDescription& log : found.logs) {
    text += fmt::format("{:<40} {:>12} {:>12} {:>12}  {}, {}\n", log.name, log.start, log.end,
                        bytesText(log.bytes), keptText(log.retention.maxAgeMs, "ms"),
                        keptText(log.retention.maxBytes, "bytes"));
  }
  for (const std::string& damage : found.damages) text += fmt::format("\ndamage     {}\n", damage);
  print(text);
}

std::uint64_t bytesOf(const std::string& directory) {
  std::uint64_t bytes = 0;
  for (const state::FileTotal& total : state::inspectJournal(directory).files) bytes += total.bytes;
  return bytes;
}

void compact(const StateArguments& arguments) {
  const std::uint64_t before = bytesOf(arguments.directory);
  {
    state::JournalOptions options;
    options.sharing = state::Sharing::Shared;
    options.createDirectory = false;
    const auto journal = state::Journal::open(arguments.directory, options);
    const auto stores = journal->stores();
    ProgressMeter meter("compacting");
    for (std::size_t i = 0; i < stores.size(); ++i) {
      meter.show(i, stores.size() + 1);
      journal->snapshotStore(stores[i].id);
    }
    (void)journal->clean();
  }
  const std::uint64_t after = bytesOf(arguments.directory);
  print(arguments.json
            ? dumped(Json{{"bytesBefore", before}, {"bytesAfter", after}})
            : fmt::format("before  {}\nafter   {}\n", bytesText(before), bytesText(after)));
}

void backup(const StateArguments& arguments) {
  const state::BackupReport done = [&] {
    ProgressMeter meter("copying and verifying");
    state::BackupOptions options;
    options.progress = [&](const state::BackupProgress& progress) {
      meter.show(progress.bytesDone, progress.bytesTotal);
    };
    try {
      return state::backup(arguments.directory, arguments.target, options);
    } catch (const state::OwnedElsewhere& held) {
      throw state::OwnedElsewhere(std::string(held.what()) +
                                  ", or have it call penstock::state::backup itself");
    }
  }();
  print(arguments.json
            ? dumped(Json{{"directory", done.directory},
                          {"sequence", done.sequence.value},
                          {"files", done.files},
                          {"bytes", done.bytes}})
            : fmt::format("{}: {} in {} files, all frames up to {}, verified\n", done.directory,
                          bytesText(done.bytes), done.files, done.sequence.value));
}

const char* nameOf(state::StoreFate fate) {
  switch (fate) {
    case state::StoreFate::Kept:
      return "kept";
    case state::StoreFate::Rebuilt:
      return "rebuilt";
    case state::StoreFate::Ended:
      return "ended";
    case state::StoreFate::Lost:
      return "lost";
  }
  return "";
}

Json jsonOf(const state::RepairPlan& plan) {
  Json json{{"directory", plan.directory},   {"needed", plan.needed},
            {"refusal", plan.refusal},       {"last", plan.last.value},
            {"lostFrames", plan.lostFrames}, {"lostBytes", plan.lostBytes},
            {"tornBytes", plan.tornBytes},   {"stores", Json::array()},
            {"logs", Json::array()},         {"losses", plan.losses()}};
  for (const state::RepairedStore& store : plan.stores) {
    json["stores"].push_back({{"name", store.name},
                              {"fate", nameOf(store.fate)},
                              {"keys", store.keys},
                              {"endsAt", store.endsAt.value}});
  }
  for (const state::RepairedLog& log : plan.logs) {
    json["logs"].push_back({{"name", log.name}, {"start", log.start}, {"end", log.end}});
  }
  return json;
}

std::string textOf(const state::RepairPlan& plan) {
  std::string text =
      fmt::format("directory  {}\nframes     kept up to {}\n", plan.directory, plan.last.value);
  for (const state::Damage& damage : plan.damages) {
    text += fmt::format("{:<10} {}\n", nameOf(damage.kind), damage.text);
  }
  if (!plan.stores.empty()) text += fmt::format("\n{:<40} {:>8} {:>12}\n", "store", "", "keys");
  for (const state::RepairedStore& store : plan.stores) {
    text += fmt::format("{:<40} {:>8} {:>12}\n", store.name, nameOf(store.fate), store.keys);
  }
  if (!plan.logs.empty()) text += fmt::format("\n{:<40} {:>12} {:>12}\n", "log", "start", "end");
  for (const state::RepairedLog& log : plan.logs) {
    text += fmt::format("{:<40} {:>12} {:>12}\n", log.name, log.start, log.end);
  }
  const auto losses = plan.losses();
  text += losses.empty() ? "\nnothing is lost\n" : "\nthe copy will not have\n";
  for (const std::string& loss : losses) text += "  " + loss + '\n';
  return text;
}

void repair(const StateArguments& arguments) {
  const state::RepairPlan plan = state::planRepair(arguments.directory);
  print(arguments.json ? dumped(jsonOf(plan)) : textOf(plan));
  if (!plan.refusal.empty()) {
    throw Error(ErrorCode::RestoreState, plan.directory + ": " + plan.refusal);
  }
  if (!plan.needed) {
    if (!arguments.json) print("\nthe directory is sound: there is nothing to repair\n");
    return;
  }
  if (!arguments.yes) {
    if (::isatty(STDIN_FILENO) != 1) {
      throw ConfigurationError("nothing was written: say --yes to write that copy to " +
                               arguments.target);
    }
    print(fmt::format("\nwrite that copy to {}? [y/N] ", arguments.target));
    std::string answer;
    std::getline(std::cin, answer);
    if (answer != "y" && answer != "yes") return print("nothing was written\n");
  }
  state::repairInto(plan, arguments.target);
  if (!arguments.json) {
    print(
        fmt::format("\n{}: written and verified; the source was not touched\n", arguments.target));
  }
}

/// A subcommand with what all have. `run` is called when it was asked for.
CLI::App* withDirectory(CLI::App* command, const std::string& description,
                        const std::shared_ptr<StateArguments>& arguments, bool json,
                        const std::function<void(StateArguments&)>& run) {
  command->description(description);
  command->add_option("directory", arguments->directory, "of a journal")->required();
  if (json) command->add_flag("--json", arguments->json, "as one line of JSON");
  command->callback([arguments, run] { run(*arguments); });
  return command;
}

void addSub(CLI::App& command, StateArguments& arguments) {
  command
      .add_option("--sub", arguments.sub,
                  "a sub-storage; again for one inside it: --sub orders --sub open")
      ->take_all()
      ->allow_extra_args(false);
}

}  // namespace

void addStateCommand(CLI::App& app) {
  CLI::App& state = *app.add_subcommand("state", "Look into, verify, copy and repair state");
  state.require_subcommand(0, 1);  // so that a wrong word is named, and not only missed
  state.callback([&state] {
    if (state.get_subcommands().empty()) throw CLI::RequiredError("A subcommand");
  });
  const auto arguments = std::make_shared<StateArguments>();

  CLI::App* listed = withDirectory(state.add_subcommand("ls"), "Values of the storage in it",
                                   arguments, true, listValues);
  addSub(*listed, *arguments);
  listed->add_option("--prefix", arguments->prefix, "only keys that begin so");

  CLI::App* got =
      withDirectory(state.add_subcommand("get"), "Print one value", arguments, true, getValue);
  got->add_option("key", arguments->key, "of the value")->required();
  addSub(*got, *arguments);

  CLI::App* set = withDirectory(state.add_subcommand("set"), "Write one value, synced", arguments,
                                false, setValue);
  set->add_option("key", arguments->key, "of the value")->required();
  set->add_option("value", arguments->value, "as text; of a null nothing");
  set->add_option("--type", arguments->type,
                  "string (default), int64, double, bool, binary (as base64), null or json")
      ->check(CLI::IsMember(valueTypes));
  addSub(*set, *arguments);

  withDirectory(state.add_subcommand("stat"),
                "What a directory holds; changes nothing, also while it is in use", arguments, true,
                stat);
  withDirectory(state.add_subcommand("verify"),
                "Read everything and name what is damaged; changes nothing, also in use", arguments,
                true, verify);
  withDirectory(state.add_subcommand("compact"),
                "Snapshot all stores, and remove what nobody needs", arguments, true, compact);

  CLI::App* copied =
      withDirectory(state.add_subcommand("backup"),
                    "Copy it as it is at one moment, while others write", arguments, true, backup);
  copied->add_option("target", arguments->target, "an empty or new directory")->required();

  CLI::App* exported = withDirectory(state.add_subcommand("export"),
                                     "Write the storage in it to a file, while others write",
                                     arguments, true, exportStorage);
  exported->add_option("target", arguments->path, "a file, or - for standard output")
      ->default_val("-");
  exported->add_option("--format", arguments->format, "jsonl (default) or snapshot")
      ->check(CLI::IsMember(exportFormats));
  exported->add_flag("--replace", arguments->replace, "a file that is there already");
  addSub(*exported, *arguments);

  CLI::App* imported = withDirectory(state.add_subcommand("import"),
                                     "Read an export, or a legacy Quix directory, into a storage",
                                     arguments, true, importStorage);
  imported->add_option("source", arguments->path, "a file or directory, or - for standard input")
      ->default_val("-");
  imported->add_option("--format", arguments->format, "jsonl (default), snapshot or quix")
      ->check(CLI::IsMember(importFormats));
  imported
      ->add_option("--batch-bytes", arguments->batchBytes,
                   "what becomes visible at once, and is held in memory (268435456)")
      ->check(CLI::PositiveNumber);
  imported->add_flag("--overwrite", arguments->overwrite, "keys that are there already");
  imported->add_flag("--incomplete", arguments->incomplete,
                     "jsonl: also without first and last line");
  imported->add_flag("--skip-damaged", arguments->skipDamaged,
                     "quix: leave out what cannot be read, and list it");
  imported->add_flag("--raw-files", arguments->rawFiles,
                     "quix: files that are no records become binary values");
  addSub(*imported, *arguments);

  CLI::App* repaired = withDirectory(state.add_subcommand("repair"),
                                     "Write a copy of what can be proven of a damaged directory",
                                     arguments, true, repair);
  repaired->add_option("target", arguments->target, "an empty or new directory")->required();
  repaired->add_flag("--yes", arguments->yes, "do not ask");
}

}  // namespace penstock::command
