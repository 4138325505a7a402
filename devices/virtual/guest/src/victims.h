/* SPDX-License-Identifier: Apache-2.0 */
/* Whom lmkd kills: the app with the highest oom_score_adj, and of several the largest. */
#ifndef GUEST_VICTIMS_H
#define GUEST_VICTIMS_H

#include <sys/types.h>

struct victim {
	pid_t pid; /* 0: nobody */
	int uid, adj;
	long long rss_kib;
};

struct victim find_victim(int min_adj);

#endif
