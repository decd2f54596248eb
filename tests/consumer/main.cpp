// SPDX-License-Identifier: Apache-2.0
// usage: consumer DIRECTORY

#include <penstock/application.h>
#include <penstock/error.h>
#include <penstock/state/local_file_storage.h>
#include <penstock/streaming_client.h>
#include <penstock/version.h>

#include <cstdint>
#include <iostream>
#include <string>

int main(int, char** arguments) {
  const std::string directory = arguments[1];
  for (std::int64_t run = 1; run <= 2; ++run) {
    penstock::state::LocalFileStorage storage(directory + "/state");
    storage.set("runs", storage.getOr("runs", std::int64_t{0}) + 1);
    if (storage.get<std::int64_t>("runs") != run) return 1;
  }
  const penstock::StreamingClient client("file://" + directory + "/topics");
  try {
    static_cast<void>(client.consumer("absent"));  // an error that crosses the library's border
    return 1;
  } catch (const penstock::Error& error) {
    if (error.code() != penstock::ErrorCode::FixConfiguration) return 1;
  }
  std::cout << "penstock " << penstock::version() << '\n';
}
