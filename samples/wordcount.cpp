// SPDX-License-Identifier: Apache-2.0
// Counts the words of a topic's values (wordcount_topology.h) and writes each new count to another
// topic. Killed at any instant and started again, it counts every word exactly once.
#include <penstock/exit_code.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <exception>
#include <iostream>
#include <string>

#include "wordcount_topology.h"

int main(int argc, char** argv) {
  try {
    penstock::ApplicationOptions options;
    if (options.id.empty()) options.id = "wordcount";
    std::string input;
    std::string output;
    std::string guarantee;
    std::int64_t commitIntervalMs = options.commitInterval.count();

    CLI::App command("Counts the words of a topic's values.");
    command.add_option("--broker", options.broker, "file:///directory or kafka://host:port")
        ->required(options.broker.empty());
    command.add_option("--input", input, "topic of texts")->required();
    command.add_option("--output", output, "topic of counts")->required();
    command.add_option("--state", options.stateDirectory, "directory of stores, on Kafka");
    command.add_option("--guarantee", guarantee, "exactly-once (default) or at-least-once")
        ->check(CLI::IsMember({"exactly-once", "at-least-once"}));
    command.add_option("--commit-interval", commitIntervalMs, "milliseconds between commits")
        ->check(CLI::Range(0, 86'400'000));
    command.add_flag("--until-end", options.untilEnd, "end when all that is there is counted");
    try {
      command.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return command.exit(error) == 0 ? 0 : 2;
    }
    options.commitInterval = std::chrono::milliseconds(commitIntervalMs);
    if (guarantee == "exactly-once") options.guarantee = penstock::Guarantee::ExactlyOnce;
    if (guarantee == "at-least-once") options.guarantee = penstock::Guarantee::AtLeastOnce;

    penstock::Application application(options);
    wordcountTopology(application, input, output);
    application.run();
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "wordcount: " << error.what() << '\n';
    return penstock::exitCode(error);
  }
}
