// SPDX-License-Identifier: Apache-2.0
#include <penstock/error.h>
#include <penstock/log.h>
#include <penstock/version.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "command.h"

namespace {

using penstock::command::ExitCode;

int complain(const std::string& message, ExitCode code) {
  std::string line = "penstock: " + message;
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';  // one line, whatever a name holds
  }
  std::fprintf(stderr, "%s\n", line.c_str());
  return code;
}

ExitCode exitCodeOf(const penstock::Error& error) {
  switch (error.code()) {
    case penstock::ErrorCode::FixConfiguration:
    case penstock::ErrorCode::FixData:
      return penstock::command::kUsage;
    case penstock::ErrorCode::RestoreState:
      return penstock::command::kRestoreState;
    case penstock::ErrorCode::Retry:
    case penstock::ErrorCode::RestartTask:
    case penstock::ErrorCode::ReportBug:
      break;
  }
  return penstock::command::kFailed;
}

}  // namespace

int main(int argc, char** argv) {
  // what the library logs goes to standard error; by default only what needs attention
  if (std::getenv("PENSTOCK_LOG_LEVEL") == nullptr) {
    penstock::setLogLevel(penstock::LogLevel::Warning);
  }
  CLI::App app("Penstock: topics and state of stream-processing programs", "penstock");
  app.set_version_flag("--version", "penstock " + std::string(penstock::version()));
  app.require_subcommand(1);
  penstock::command::addTopicsCommand(app);
  try {
    app.parse(argc, argv);
    return penstock::command::kDone;
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    return complain(std::string(error.what()) + " (--help lists what there is)",
                    penstock::command::kUsage);
  } catch (const penstock::Error& error) {
    return complain(error.what(), exitCodeOf(error));
  } catch (const std::exception& error) {
    return complain(error.what(), penstock::command::kFailed);
  }
}
