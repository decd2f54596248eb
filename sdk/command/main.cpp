// SPDX-License-Identifier: Apache-2.0
#include <penstock/error.h>
#include <penstock/exit_code.h>
#include <penstock/log.h>
#include <penstock/version.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "command.h"

namespace {

int complain(const std::string& message, int code) {
  std::string line = "penstock: " + message;
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';  // one line, whatever a name holds
  }
  std::fprintf(stderr, "%s\n", line.c_str());
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  // what the library logs goes to standard error; by default only what needs attention
  if (std::getenv("PENSTOCK_LOG_LEVEL") == nullptr) {
    penstock::setLogLevel(penstock::LogLevel::Warning);
  }
  CLI::App app("Penstock: topics and state of stream-processing programs", "penstock");
  app.set_version_flag("--version", "penstock " + std::string(penstock::version()));
  app.require_subcommand(0, 1);  // so that a wrong word is named, and not only missed
  penstock::command::addTopicsCommand(app);
  penstock::command::addStateCommand(app);
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) throw CLI::RequiredError("A subcommand");
    return 0;
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    const penstock::ConfigurationError wrong(std::string(error.what()) +
                                             " (--help lists what there is)");
    return complain(wrong.what(), penstock::exitCode(wrong));
  } catch (const std::exception& error) {
    return complain(error.what(), penstock::exitCode(error));
  }
}
