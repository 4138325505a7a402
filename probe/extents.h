/* SPDX-License-Identifier: Apache-2.0 */
/* Where a file lies on the device that holds its file system. */
#ifndef PROBE_EXTENTS_H
#define PROBE_EXTENTS_H

#include "records.h"
#include "system.h"

struct extents {
	struct buffer room; /* of struct extent */
	size_t count;
	uint32_t flags; /* FIEMAP_EXTENT_*, of all pieces together, without that of the last one */
};

int extents_ask(struct extents *extents, int fd, const char *path, struct reply *rep);
const struct extent *extents_of(const struct extents *extents);
/* Where a place of the file is; false for a hole. */
bool extents_place(const struct extents *extents, uint64_t logical, uint64_t *physical);
void extents_free(struct extents *extents);
#define SCOPED_EXTENTS __attribute__((cleanup(extents_free))) struct extents

#endif
