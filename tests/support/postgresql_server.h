// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "temporary_directory.h"

namespace penstock::testing {

/// One real PostgreSQL server in a temporary directory, reached by a socket in it, so that it takes
/// no port. Run by root it belongs to an unprivileged user, as PostgreSQL demands. It dies with
/// this process, however that ends; the data survives `kill9` and `start`.
///
/// Anybody may connect as `penstock`, the superuser; `locked` has to give the password `right`.
///
/// Threads: owned by the thread that made it, which must live as long as the server. Starts none.
class PostgresqlServer {
 public:
  /// Whether its commits are synced; tests that pull no plug are quicker without.
  enum class Disk { Synced, Unsynced };

  explicit PostgresqlServer(Disk disk);
  ~PostgresqlServer();
  PostgresqlServer(const PostgresqlServer&) = delete;
  PostgresqlServer& operator=(const PostgresqlServer&) = delete;

  /// The server of this process for tests, running: made at the first call.
  static PostgresqlServer& running();

  [[nodiscard]] static std::string clientProgram();  // psql
  [[nodiscard]] std::string address(const std::string& user = "penstock",
                                    const std::string& database = "postgres") const;
  void kill9();  // the server and the processes of its connections
  void start();  // after kill9; returns when it answers
  /// Runs SQL in a client of its own (psql) as the superuser; gives what it prints, without
  /// headings, columns separated by '|'. Throws when it fails.
  std::string sql(const std::string& statements);

 private:
  [[nodiscard]] std::vector<std::string> serverCommand() const;

  TemporaryDirectory directory_;
  std::string programs_;  // the folder of initdb and postgres
  Disk disk_;
  pid_t pid_ = -1;
};

}  // namespace penstock::testing
