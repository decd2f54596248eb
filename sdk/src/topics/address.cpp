// SPDX-License-Identifier: Apache-2.0
#include <penstock/error.h>

#include <algorithm>
#include <cctype>

#include "topics/address.h"

namespace penstock::topics {

namespace {

constexpr std::string_view kForms =
    "file:///directory, a plain path, or kafka://host:port[,host:port]";

/// "kafka" of "kafka://a:1"; empty for a path. A colon behind a slash belongs to a path.
std::string_view schemeOf(std::string_view address) {
  for (std::size_t i = 0; i < address.size(); ++i) {
    const char c = address[i];
    if (c == ':') return address.substr(0, i);
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '+' && c != '-' && c != '.') break;
  }
  return {};
}

[[noreturn]] void refuse(const std::string& address, const std::string& why) {
  throw ConfigurationError("'" + address + "' is not an address: " + why + "; expected " +
                           std::string(kForms));
}

int hexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// %20 and the like, as in every URL; a plain path is taken as it is.
std::string percentDecoded(const std::string& address, std::string_view path) {
  std::string decoded;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      decoded += path[i];
      continue;
    }
    const int high = i + 2 < path.size() ? hexDigit(path[i + 1]) : -1;
    const int low = i + 2 < path.size() ? hexDigit(path[i + 2]) : -1;
    if (high < 0 || low < 0 || high + low == 0) refuse(address, "a '%' needs two digits behind it");
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

/// file:///dir, file:/dir, file:dir; a host other than localhost is no directory of this machine.
std::string pathOfFileUrl(const std::string& address) {
  std::string_view rest = std::string_view(address).substr(5);
  if (rest.starts_with("//")) {
    rest.remove_prefix(2);
    const std::size_t slash = rest.find('/');
    const std::string_view host = rest.substr(0, slash);
    if (!host.empty() && host != "localhost") {
      refuse(address, "'" + std::string(host) + "' stands where a host would (three slashes?)");
    }
    rest = slash == std::string_view::npos ? std::string_view{} : rest.substr(slash);
  }
  if (rest.empty()) refuse(address, "it names no directory");
  return percentDecoded(address, rest);
}

/// One "host:port" or "[v6]:port" of a broker list; the port may be left out (9092).
void checkBroker(const std::string& address, std::string_view broker) {
  std::string_view host = broker;
  std::string_view port;
  if (broker.starts_with('[')) {
    const std::size_t close = broker.find(']');
    if (close == std::string_view::npos) refuse(address, "a '[' is never closed");
    host = broker.substr(0, close + 1);
    port = broker.substr(close + 1);
  } else if (const std::size_t colon = broker.find(':'); colon != std::string_view::npos) {
    host = broker.substr(0, colon);
    port = broker.substr(colon);
  }
  if (host.empty()) refuse(address, "a broker without a host");
  if (host.find_first_of("/@?# ") != std::string_view::npos) {
    refuse(address, "'" + std::string(broker) + "' is not host:port");
  }
  if (port.empty()) return;
  port.remove_prefix(1);
  int number = 0;
  for (const char c : port) {
    number = c >= '0' && c <= '9' && number <= 65535 ? number * 10 + (c - '0') : 65536;
  }
  if (port.empty() || number < 1 || number > 65535) {
    refuse(address, "'" + std::string(port) + "' is not a port (1 to 65535)");
  }
}

std::string brokersOf(const std::string& address) {
  std::string_view rest = std::string_view(address).substr(6);
  if (!rest.starts_with("//")) refuse(address, "kafka: is followed by //");
  rest.remove_prefix(2);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.empty()) refuse(address, "it names no broker");
  for (std::size_t from = 0; from <= rest.size();) {
    const std::size_t comma = std::min(rest.find(',', from), rest.size());
    checkBroker(address, rest.substr(from, comma - from));
    from = comma + 1;
  }
  return std::string(rest);
}

}  // namespace

Address parseAddress(const std::string& address) {
  if (address.empty()) refuse(address, "it is empty");
  if (const std::size_t nul = address.find('\0'); nul != std::string::npos) {
    refuse(address.substr(0, nul), "a NUL byte stands behind it");
  }
  std::string scheme(schemeOf(address));
  for (char& c : scheme) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (scheme.empty()) return {false, address};
  if (scheme == "file") return {false, pathOfFileUrl(address)};
  if (scheme == "kafka") return {true, brokersOf(address)};
  refuse(address,
         "the scheme '" + scheme + "' is unknown (a directory of that name: ./" + address + ")");
}

}  // namespace penstock::topics
