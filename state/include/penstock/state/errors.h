// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/error.h>
#include <cerrno>
#include <cstdint>
#include <string>

namespace penstock::state {

/// `get` of a key that is not there. Names the key.
class KeyNotFound : public Error {
 public:
  explicit KeyNotFound(const std::string& message) : Error(ErrorCode::FixData, message) {}
};

/// A value was read as another type than it was stored with. Names key, stored and asked type.
class TypeMismatch : public Error {
 public:
  explicit TypeMismatch(const std::string& message) : Error(ErrorCode::FixData, message) {}
};

/// A key or value outside the limits (key 1 B - 64 KiB, value up to 1 GiB).
class InvalidArgument : public Error {
 public:
  explicit InvalidArgument(const std::string& message) : Error(ErrorCode::FixData, message) {}
};

/// Durable bytes that are not what was written. Nothing was changed. `what()` is `damage()` and,
/// behind it, what to do.
class Corruption : public Error {
 public:
  /// For a directory that holds a journal.
  static constexpr const char* journalAdvice =
      "`penstock state verify DIR` names all that is damaged in a directory: restore it from a "
      "backup, or write what is whole into a copy with `penstock state repair DIR COPY`";

  Corruption(const std::string& file, std::uint64_t offset, const std::string& damage,
             const std::string& advice = journalAdvice)
      : Error(ErrorCode::RestoreState, damage + "; " + advice),
        file_(file),
        offset_(offset),
        damage_(damage) {}
  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }  // bytes from the start
  [[nodiscard]] const std::string& damage() const noexcept { return damage_; }  // no advice

 private:
  std::string file_;
  std::uint64_t offset_;
  std::string damage_;
};

/// The directory was written by a newer Penstock, or on a machine of another byte order; the
/// message names what is needed.
class FormatTooNew : public Error {
 public:
  explicit FormatTooNew(const std::string& message) : Error(ErrorCode::FixConfiguration, message) {}
};

/// The directory, or a task in it, belongs to another process; the message names the holder.
class OwnedElsewhere : public Error {
 public:
  explicit OwnedElsewhere(const std::string& message) : Error(ErrorCode::Retry, message) {}
};

/// An append under an older incarnation of a task: somebody took the task over.
class Fenced : public Error {
 public:
  explicit Fenced(const std::string& message) : Error(ErrorCode::RestartTask, message) {}
};

/// No space (ENOSPC, EDQUOT) or a short append. Nothing was written; works again by itself once
/// there is space.
class DiskFull : public Error {
 public:
  explicit DiskFull(const std::string& message, int error = ENOSPC, const std::string& file = {})
      : Error(ErrorCode::Retry, message), error_(error), file_(file) {}
  [[nodiscard]] int osError() const noexcept { return error_; }
  [[nodiscard]] const std::string& file() const noexcept { return file_; }  // or "": not known

 private:
  int error_;
  std::string file_;
};

/// The stores of the process hold as much memory as they may (penstock/state/memory.h). Nothing was
/// written; works again once snapshots have let changes go, or with a higher limit.
class MemoryExceeded : public Error {
 public:
  explicit MemoryExceeded(const std::string& message) : Error(ErrorCode::Retry, message) {}
};

/// A failed call of the operating system, with its errno text.
class IoError : public Error {
 public:
  IoError(int error, const std::string& message, const std::string& file = {})
      : Error(ErrorCode::FixConfiguration, message), error_(error), file_(file) {}
  [[nodiscard]] int osError() const noexcept { return error_; }
  [[nodiscard]] const std::string& file() const noexcept { return file_; }  // or directory, or ""

 private:
  int error_;
  std::string file_;
};

/// A sync failed earlier, so nothing written since is known to be on disk: the journal accepts
/// no more writes, in every process that has it open. Close and open again to recover.
class JournalFailed : public Error {
 public:
  explicit JournalFailed(const std::string& message) : Error(ErrorCode::RestartTask, message) {}
};

/// The handle was closed, or is used in a forked child.
class Closed : public Error {
 public:
  explicit Closed(const std::string& message) : Error(ErrorCode::RestartTask, message) {}
};

/// A lock was not free in time; what was to be done under it was not. Names the lock.
class LockTimeout : public Error {
 public:
  explicit LockTimeout(const std::string& message) : Error(ErrorCode::Retry, message) {}
};

/// An updater that changes the key it is called for: it would wait for itself. Nothing was changed.
class NestedUpdate : public Error {
 public:
  explicit NestedUpdate(const std::string& message) : Error(ErrorCode::FixConfiguration, message) {}
};

/// Others changed the key each time between the reading and the writing of it. Nothing was changed.
class Conflict : public Error {
 public:
  explicit Conflict(const std::string& message) : Error(ErrorCode::Retry, message) {}
};

/// A database that cannot be reached, is shutting down or has no connection left. Nothing was
/// changed; the next call connects anew.
class Unavailable : public Error {
 public:
  explicit Unavailable(const std::string& message) : Error(ErrorCode::Retry, message) {}
};

/// The connection was lost when a change had been sent and no answer had come: it is made, whole,
/// or it is not. Read before doing it again.
class OutcomeUnknown : public Error {
 public:
  explicit OutcomeUnknown(const std::string& message) : Error(ErrorCode::RestartTask, message) {}
};

/// Two locks are taken in one order here and in the other one elsewhere, so that two threads could
/// wait for each other for ever. Names both; the program has to settle on one order.
class LockOrder : public Error {
 public:
  explicit LockOrder(const std::string& message) : Error(ErrorCode::FixConfiguration, message) {}
};

/// A file changed under who used it: an import's source while it was read, a file of SharedState's
/// while it was saved to, a Datastore's while it was open. Names the file.
class SourceChanged : public Error {
 public:
  explicit SourceChanged(const std::string& message) : Error(ErrorCode::Retry, message) {}
};

/// A file that somebody else wrote: of another kind, or of another application. Names the file.
class ForeignFile : public Error {
 public:
  explicit ForeignFile(const std::string& message) : Error(ErrorCode::FixConfiguration, message) {}
};

/// A position that its topic no longer (or never) held. Never reset by itself.
class PositionOutOfRange : public Error {
 public:
  explicit PositionOutOfRange(const std::string& message)
      : Error(ErrorCode::RestoreState, message) {}
};

}  // namespace penstock::state
