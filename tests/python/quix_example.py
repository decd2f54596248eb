# SPDX-License-Identifier: Apache-2.0
# The Python block of the Quix document on state management, as written there apart from the
# package's name.
from penstock.state.localfilestorage import LocalFileStorage

storage = LocalFileStorage()

#clear storage ( remove all keys )
storage.clear()

#storage class supports handling of
#   `str`, `int`, `float`, `bool`, `bytes`, `bytearray` types.

#set value
storage.set("KEY1", 12.51)
storage.set("KEY2", "str")
storage.set("KEY3", True)
storage.set("KEY4", False)

#check if the storage contains key
storage.containsKey("KEY1")

#get value
value = storage.get("KEY1")
