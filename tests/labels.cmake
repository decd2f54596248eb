# SPDX-License-Identifier: Apache-2.0
# Read by ctest, behind a folder's lists of tests: what they are labelled beside their suite's name.
#   kill   its name says that it kills; scripts/test --repeat 20 kill
#   forks  a child that it forked (and that is no new program) starts threads, or is forked while
#          threads run: GCC's ThreadSanitizer ends the first, and the second may find the allocator
#          of AddressSanitizer locked for ever by a thread that it has not got: both presets leave
#          these out

cmake_policy(VERSION 3.25)
set(forks
    "state: JournalTest.AKilledWriterLosesNothingItAcknowledged"
    "state: JournalTest.ASecondExclusiveProcessIsRefusedByTheNameOfTheHolder"
    "state: JournalTest.SharedProcessesSeeEachOthersCommitsAndSurviveAKill"
    "state: JournalTest.AForkedChildIsRefusedButMayOpenItself"
    "state: JournalTest.ReadersOfAnotherProcessFindWhatTheySeeTheEndOf"
    "state: LocalFileStorageTest.SecondProcessIsRefusedByNameOfTheHolderUntilItCloses"
    "state: LocalFileStorageTest.SecondProcessIsAdmittedAfterKill9"
    "state: LocalFileStorageTest.SharedProcessesSeeEachOther"
    "state: LocalFileStorageTest.KillLeavesEachKeyOldOrNewAndNothingConfirmedIsLost"
    "state: LocalFileStorageTest.AForkedChildIsRefused"
    "state: LocalFileStorageTest.AForkedChildMayDropItsHandle"
    "state: JournalTest.ACommitUnderAnOldClaimIsFencedAlsoByAnotherProcess"
    "state: SharedStateOnDisk.AForkedChildDoesNotSaveWhatIsItsParents"
    "state: StateDirectory.AProcessWithoutPermissionIsToldWhichAndWhatToDo"
    "state: StateDirectory.AProcessThatMayNotReadOrWriteAFileIsToldWhich"
    "state: StateDirectory.ASecondProcessOfTheOtherSharingModeIsRefusedByNameOfTheHolder"
    "fault: TwoOwners.OfAllThatRaceOneWinsAndTheOthersAreToldWho"
    "fault: TwoOwners.AKillFreesTheLockAtOnce"
    "fault: TwoOwners.EveryUseAfterAForkIsRefusedAndTheChildHoldsNoLock"
    "fault: TwoOwners.AReadOnlyDirectoryIsRefusedClearlyAndNotChanged")

foreach(suite IN ITEMS state sdk fault exactly_once)
  set(label ${suite})
  if(suite STREQUAL "exactly_once")
    set(label fault)
  endif()
  set(tests ${penstock_${suite}_tests_TESTS})
  if(NOT tests)
    continue()  # of another folder, or not built
  endif()
  foreach(test IN LISTS tests)
    set(labels ${label})
    if(test MATCHES "Kill")
      list(APPEND labels kill)
    endif()
    if(test IN_LIST forks OR test MATCHES "KillLoop|DatabaseStore.AForkedChild|DatastoreProcesses")
      list(APPEND labels forks)
    endif()
    set_tests_properties("${test}" PROPERTIES LABELS "${labels}")
  endforeach()
  # fault names the tests of two programs; those that fork are all in the first
  foreach(test IN LISTS forks)
    if(test MATCHES "^${suite}: " AND NOT test IN_LIST tests)
      message(FATAL_ERROR "tests/labels.cmake: there is no test '${test}'")
    endif()
  endforeach()
endforeach()
