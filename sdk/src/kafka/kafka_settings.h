// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <string>

namespace penstock::kafka {

using SettingMap = std::map<std::string, std::string>;

/// What a librdkafka client is made with: its own names, later ones win.
struct ClientSettings {
  std::string servers;
  SettingMap values;
};

/// The settings given with an address.
struct TransportSettings {
  std::string servers;
  std::chrono::milliseconds timeout{10000};  // `penstock.timeout.ms`: of every question to a broker
  SettingMap values;                         // librdkafka's

  [[nodiscard]] std::string address() const { return "kafka://" + servers; }
};

/// Sorts out what is Penstock's own, and refuses by name what contradicts it.
TransportSettings parseSettings(const std::string& servers, const SettingMap& settings);

/// Throws ConfigurationError for settings that would break what Penstock promises: what decides
/// on positions, on delivery and on which partition a key goes to.
void refuseContradictions(const SettingMap& settings);

}  // namespace penstock::kafka
