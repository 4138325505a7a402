/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records of result files, little endian and without gaps on every processor. README.md describes them, records.c
 * asserts where each field lies, and the command describe tells it to the host's tests.
 */
#ifndef PROBE_RECORDS_H
#define PROBE_RECORDS_H

#include <stdint.h>

/* A page's first read; of touch and race. ahead: requests in flight at the backing device, of race. */
struct sample {
	uint64_t t_ns;
	uint64_t ns;
	uint32_t page;
	uint16_t label;
	uint16_t ahead;
};

/* A look at memory; of sample-stop. */
struct memory_sample {
	uint64_t t_ns;
	uint64_t available_kib, zram_used_kib, swap_used_kib;
	uint64_t written_back_4k;
	uint64_t psi_some_permille, psi_full_permille;
};

/* A writeback under a limit; of daemon-stop. */
struct round {
	uint64_t t_ns, end_ns;
	uint64_t pages_4k;
	uint64_t errnum;
};

/* A piece of a file; of extents. */
struct extent {
	uint64_t logical, physical, bytes;
};

#endif
