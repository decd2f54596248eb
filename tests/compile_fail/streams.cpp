// SPDX-License-Identifier: Apache-2.0
#include <penstock/application.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

struct Opaque {};

struct Echo : penstock::Processor<std::string, std::int64_t, std::string, std::int64_t> {
  void process(const std::string& key, const std::int64_t& value) override {
    context().forward(key, value);
  }
};

void topology(penstock::Application& app) {
  auto in = app.stream<std::string, std::int64_t>("in");
  auto unkeyed = app.stream<penstock::None, std::string>("unkeyed");
  auto optional = app.stream<std::optional<std::string>, std::string>("optional");

  in.groupByKey().count({.name = "a"});
  in.filter([](const auto&, std::int64_t value) { return value > 0; });
  in.process([] { return std::make_unique<Echo>(); });
  in.groupByKey().aggregate(
      [] { return std::int64_t{0}; },
      [](const auto&, std::int64_t value, std::int64_t& sum) { sum += value; }, {.name = "b"});
  in.merge(in);

#ifdef MISUSE_GROUP_WITHOUT_KEY
  unkeyed.groupByKey().count({.name = "c"});
#endif
#ifdef MISUSE_GROUP_BY_OPTIONAL_KEY
  optional.groupByKey().count({.name = "c"});
#endif
#ifdef MISUSE_FILTER_WITHOUT_BOOL
  in.filter([](const std::string& key, std::int64_t) { return key; });
#endif
#ifdef MISUSE_FUNCTION_OF_OTHER_TYPES
  in.peek([](const std::string&, const std::string&) {});
#endif
#ifdef MISUSE_PROCESSOR_OF_OTHER_TYPES
  unkeyed.process([] { return std::make_unique<Echo>(); });
#endif
#ifdef MISUSE_AGGREGATE_OF_OTHER_TYPES
  in.groupByKey().aggregate([] { return std::int64_t{0}; },
                            [](const auto&, std::int64_t, std::string& text) { text += "x"; },
                            {.name = "c"});
#endif
#ifdef MISUSE_TYPE_WITHOUT_SERDE
  app.stream<std::string, Opaque>("opaque");
#endif
#ifdef MISUSE_MERGE_OF_OTHER_TYPES
  in.merge(unkeyed);
#endif
}
