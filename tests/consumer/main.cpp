// SPDX-License-Identifier: Apache-2.0
// usage: consumer DIRECTORY
// What a user's program takes from Penstock: templates over its own types, state, topics, errors.

#include <penstock/application.h>
#include <penstock/error.h>
#include <penstock/serde_cereal.h>
#include <penstock/state/cereal.h>
#include <penstock/state/local_file_storage.h>
#include <penstock/streaming_client.h>
#include <penstock/version.h>

#include <cereal/types/string.hpp>
#include <cstdint>
#include <iostream>
#include <stdexcept>
#include <string>

namespace {

struct Visit {
  std::string page;
  std::int64_t seconds = 0;
  template <typename Archive>
  void serialize(Archive& archive) {
    archive(page, seconds);
  }
};

void check(bool good, const char* what) {
  if (!good) throw std::runtime_error(what);
}

void keepState(const std::string& directory) {
  for (std::int64_t run = 1; run <= 2; ++run) {
    penstock::state::LocalFileStorage storage(directory);
    const auto before = storage.find<Visit>("last");
    check(before.has_value() == (run == 2), "a struct is there when it was stored");
    storage.set("last", Visit{.page = "home", .seconds = run});
    check(storage.get<Visit>("last").seconds == run, "a struct comes back");
  }
}

void countVisits(const std::string& address) {
  const penstock::StreamingClient client(address);
  client.createTopic("visits", {.partitions = 2});
  client.createTopic("seconds", {.partitions = 2});
  auto producer = client.producer("visits");
  for (const Visit& visit : {Visit{"home", 2}, Visit{"docs", 3}, Visit{"home", 5}}) {
    std::string value;
    penstock::Serde<Visit>::encode(visit, value);
    producer.send({.key = visit.page, .value = value, .timestamp = {}, .headers = {}});
  }
  producer.flush();

  penstock::ApplicationOptions options;
  options.id = "consumer";
  options.broker = address;
  options.untilEnd = true;
  penstock::Application application(options);
  application.stream<std::string, Visit>("visits")
      .mapValues([](const Visit& visit) { return visit.seconds; })
      .groupByKey()
      .reduce([](std::int64_t sum, std::int64_t more) { return sum + more; }, {.name = "sums"})
      .toStream()
      .to("seconds");
  application.run();
  check(application.metrics().recordsIn == 3, "each record is read once");
}

}  // namespace

int main(int, char** arguments) try {
  const std::string directory = arguments[1];
  keepState(directory + "/state");
  const std::string address = "file://" + directory + "/topics";
  countVisits(address);
  try {
    // an error that crosses the library's border
    static_cast<void>(penstock::StreamingClient(address).consumer("absent"));
    check(false, "an unknown topic is an error");
  } catch (const penstock::Error& error) {
    check(error.code() == penstock::ErrorCode::FixConfiguration, error.what());
  }
  std::cout << "penstock " << penstock::version() << '\n';
} catch (const std::exception& error) {
  std::cerr << "consumer: " << error.what() << '\n';
  return 1;
}
