# SPDX-License-Identifier: Apache-2.0
# Counts for ever, and says each count once it is stored. Killed and started again by its test.
import sys

from penstock.state.localfilestorage import LocalFileStorage

storage = LocalFileStorage(sys.argv[1], durability="buffered")
count = storage.get("count") if storage.containsKey("count") else 0
while True:
    count += 1
    storage.set("count", count)
    print(count, flush=True)
