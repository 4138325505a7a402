/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that has zram write back while apps are used, at the moments when Android's own daemons do. */
#ifndef PROBE_DAEMON_H
#define PROBE_DAEMON_H

#include <sys/types.h>

#include "system.h"

/* A process came to the front; the one that was there has left it. 0: nobody knows which one. */
void daemon_front(pid_t pid);
/* The user does nothing for a moment. */
void daemon_pause(void);

/*
 * Since 7.0 zram's counters cannot be read until a running writeback ends. Between these two none of ours runs; false
 * if one does now.
 */
bool zram_quiet_begin(void);
void zram_quiet_end(void);

#endif
