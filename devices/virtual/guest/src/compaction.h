/* SPDX-License-Identifier: Apache-2.0 */
/* What CachedAppOptimizer does to a frozen app: MADV_PAGEOUT on its memory, through a pidfd. */
#ifndef GUEST_COMPACTION_H
#define GUEST_COMPACTION_H

#include <sys/types.h>

/* argv[0] of system_server, long enough for the name of a compaction. */
void compaction_begin(char *own_name);
/* The process that pages out the memory of another one; -1 with errno. It may be killed at any time. */
pid_t compaction_start(pid_t pid);

#endif
