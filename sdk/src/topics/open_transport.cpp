// SPDX-License-Identifier: Apache-2.0
#include "topics/address.h"
#include "topics/transport.h"

namespace penstock::topics {

std::shared_ptr<Transport> openTransport(const std::string& address,
                                         const std::map<std::string, std::string>& settings) {
  const Address place = parseAddress(address);
  return place.kafka ? openKafkaTransport(place.place, settings)
                     : openFileTransport(place.place, settings);
}

}  // namespace penstock::topics
