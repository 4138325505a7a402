/* SPDX-License-Identifier: Apache-2.0 */
/* Which zram slots hold pages of an area, and the writes that have zram write just those back. */
#ifndef PROBE_SLOTS_H
#define PROBE_SLOTS_H

#include "area.h"

/* sysfs takes one page at most, of which 4096 bytes are there on every phone. */
enum { CALL_BYTES = 4095 };

enum grammar { GRAMMAR_AUTO, GRAMMAR_SEVERAL, GRAMMAR_SINGLE };

struct slot_work {
	struct area *area;
	struct buffer page_buffer, map_buffer;
	/* The pages to write back, in the order in which they are given to zram. */
	uint32_t *page;
	size_t count;
	const uint64_t *map;
	enum grammar grammar;
	uint64_t most_pages; /* of one call; 0: as many as it takes */
	uint64_t calls;
};

/* The swap type of zramN, and how many swap devices there are. */
int zram_swap_type(uint64_t zram, unsigned int *type, unsigned int *active, struct reply *rep);
/* All pages that lie in a RAM slot of this zram and can be written back. */
int slot_work_find(struct slot_work *work, struct area *area, uint64_t zram, struct reply *rep);
/* By the keys pick and pick_seed: some of them, in the order drawn. */
int slot_work_choose(struct slot_work *work, const struct request *req, struct reply *rep);
/* In the order of their slots. */
int slot_work_sort(struct slot_work *work, struct reply *rep);
/* The text of the call that begins with page number from; returns how many pages it covers. */
uint64_t slot_work_compose(const struct slot_work *work, uint64_t from, char call[CALL_BYTES + 1]);
/* Writes one call to zram's attribute; *done counts the pages that the kernel took. 0 or an errno. */
int slot_work_write_one(struct slot_work *work, int fd, uint64_t *done);
/* Writes all calls to zram's attribute; *done counts the pages of those that the kernel took. 0 or an errno. */
int slot_work_write(struct slot_work *work, int fd, uint64_t *done);
void slot_work_free(struct slot_work *work);
#define SCOPED_SLOT_WORK __attribute__((cleanup(slot_work_free))) struct slot_work

#endif
