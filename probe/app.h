/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A synthetic app: a process of its own that holds memory and touches its working set when it comes to the front. It
 * and the probe that started it are the same program, so what they say to each other are these structures.
 */
#ifndef PROBE_APP_H
#define PROBE_APP_H

#include "content.h"
#include "system.h"

enum {
	/* Where the process finds the connection to the probe, and the file that all apps map parts of. */
	APP_SOCKET = 0,
	APP_FILE = 1,
	APP_MIX_BYTES = 64,
	APP_ERROR_BYTES = 160,
	/* Pages of the working set that are compared as a whole at each switch; of the others one word. */
	APP_WHOLE_PAGES = 16,
	/* Pages of the control. */
	APP_CONTROL_PAGES = 512,
};

struct app_setup {
	size_t anonymous_pages;
	size_t file_pages;
	uint64_t file_first; /* page of the file */
	size_t working_pages; /* of the anonymous ones; of the file the same share */
	uint64_t seed;
	uint64_t file_seed;
	uint64_t random; /* order of touching, else sequential */
	char mix[APP_MIX_BYTES];
};

enum app_task { APP_SET_UP, APP_TOUCH, APP_PAGE_OUT };

struct app_order {
	uint64_t task;
	uint64_t since_ns; /* what latency counts from; 0: the first touch */
	struct app_setup setup; /* APP_SET_UP only */
};

struct app_answer {
	uint64_t failed;
	char error[APP_ERROR_BYTES];
	/* APP_SET_UP: where its memory is, for process_madvise(). */
	uint64_t anonymous, file;
	/* APP_TOUCH, over the whole working set. */
	uint64_t latency_ns, slowest_ns, majflt;
	uint64_t swapped; /* pages that were in swap before */
	uint64_t corrupt;
	uint64_t control_ns;
};

/* What main() becomes in a synthetic app; ends with the probe that started it. */
int app_main(int argc, char **argv);

#endif
