// SPDX-License-Identifier: Apache-2.0
#include "state_transfer.h"

#include <fmt/format.h>
#include <penstock/error.h>
#include <penstock/state/quix_import.h>

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string_view>

#include "output.h"

namespace penstock::command {

namespace {

using Json = nlohmann::ordered_json;

bool standardStream(const TransferArguments& arguments) {
  if (arguments.path != "-") return false;
  if (arguments.format == "jsonl") return true;
  throw ConfigurationError(
      fmt::format("format {} needs a path; only jsonl goes through standard input or output",
                  arguments.format));
}

void refuseUnless(const TransferArguments& arguments, bool given, const char* option,
                  const char* format) {
  if (!given || arguments.format == format) return;
  throw ConfigurationError(
      fmt::format("{} belongs to --format {}, not to {}", option, format, arguments.format));
}

void checkSource(const TransferArguments& arguments) {
  refuseUnless(arguments, arguments.incomplete, "--incomplete", "jsonl");
  refuseUnless(arguments, arguments.skipDamaged, "--skip-damaged", "quix");
  refuseUnless(arguments, arguments.rawFiles, "--raw-files", "quix");
  if (standardStream(arguments)) return;
  std::error_code error;
  const auto status = std::filesystem::status(arguments.path, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    throw ConfigurationError(arguments.path + ": there is no such file or directory");
  }
  const bool directory = std::filesystem::is_directory(status);
  if (directory == (arguments.format == "quix")) return;
  throw ConfigurationError(directory
                               ? arguments.path +
                                     ": is a directory; a legacy Quix directory is "
                                     "imported with --format quix"
                               : arguments.path + ": is no directory, as --format quix wants one");
}

state::ProgressCallback tellTo(ProgressMeter& meter) {
  return [&meter](const state::TransferProgress& progress) {
    meter.show(progress.keys, progress.keysTotal.value_or(0));
  };
}

state::ImportReport importFrom(const TransferArguments& arguments, state::LocalFileStorage& into) {
  ProgressMeter meter("importing");
  state::ImportOptions options;
  options.overwrite = arguments.overwrite;
  options.incomplete = arguments.incomplete;
  options.batchBytes = arguments.batchBytes;
  options.progress = tellTo(meter);
  if (standardStream(arguments)) return state::importJsonLines(std::cin, into, options);
  return arguments.format == "jsonl" ? state::importJsonLines(arguments.path, into, options)
                                     : state::importSnapshot(arguments.path, into, options);
}

std::string listed(std::string_view what, const std::vector<std::string>& files) {
  std::string text;
  for (const std::string& file : files) text += fmt::format("{:<10} {}\n", what, file);
  return text;
}

void importLegacy(const TransferArguments& arguments, state::LocalFileStorage& into) {
  const state::QuixImportReport done = [&] {
    ProgressMeter meter("importing");
    state::QuixImportOptions options;
    options.overwrite = arguments.overwrite;
    options.batchBytes = arguments.batchBytes;
    options.skipDamaged = arguments.skipDamaged;
    options.rawFiles = arguments.rawFiles;
    options.progress = tellTo(meter);
    return state::importQuix(arguments.path, into, options);
  }();
  if (arguments.json) {
    Json json{
        {"keys", done.keys},       {"batches", done.batches}, {"subStorages", done.subStorages},
        {"unread", Json::array()}, {"pickled", done.pickled}, {"raw", done.raw}};
    for (const state::QuixUnread& unread : done.unread) {
      json["unread"].push_back({{"file", unread.file}, {"why", unread.why}});
    }
    return print(dumped(json));
  }
  std::string text = fmt::format("{} keys, {} sub-storages\n", done.keys, done.subStorages.size());
  for (const state::QuixUnread& unread : done.unread) {
    text += fmt::format("{:<10} {}: {}\n", "left out", unread.file, unread.why);
  }
  print(text + listed("pickled", done.pickled) + listed("raw", done.raw));
}

}  // namespace

void exportStorage(const TransferArguments& arguments) {
  const bool toOutput = standardStream(arguments);
  const state::LocalFileStorage storage = findStorage(arguments);
  const state::ExportReport done = [&] {
    ProgressMeter meter("exporting");
    const state::ExportOptions options{.replace = arguments.replace, .progress = tellTo(meter)};
    if (toOutput) return state::exportJsonLines(storage, std::cout, options);
    return arguments.format == "jsonl" ? state::exportJsonLines(storage, arguments.path, options)
                                       : state::exportSnapshot(storage, arguments.path, options);
  }();
  if (toOutput) return print("");  // looks whether all of it got there
  print(arguments.json ? dumped(Json{{"keys", done.keys}, {"storages", done.storages}})
                       : fmt::format("{}: {} keys of {} storages\n", arguments.path, done.keys,
                                     done.storages));
}

void importStorage(const TransferArguments& arguments) {
  checkSource(arguments);  // before a directory is made for it
  state::LocalFileStorage into = makeStorage(arguments, MakeDirectory::Yes);
  if (arguments.format == "quix") return importLegacy(arguments, into);
  const state::ImportReport done = importFrom(arguments, into);
  print(arguments.json
            ? dumped(
                  Json{{"keys", done.keys}, {"storages", done.storages}, {"batches", done.batches}})
            : fmt::format("{} keys of {} storages, in {} {}\n", done.keys, done.storages,
                          done.batches, done.batches == 1 ? "batch" : "batches"));
}

}  // namespace penstock::command
