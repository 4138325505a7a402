/* SPDX-License-Identifier: Apache-2.0 */
/* The file behind a loop device. */
#ifndef PROBE_BACKING_H
#define PROBE_BACKING_H

#include <sys/types.h>

#include "system.h"

struct backing {
	const char *path;
	int fd;
	bool created;
	off_t size_before;
	bool pin;
	int pin_errno;
};

/* The name as the kernel shows it: without links and dots, whether or not the file is still there. */
int backing_resolve(const char *file, char path[PATH_BYTES], struct reply *rep);
int backing_open(struct backing *backing, struct reply *rep);
void backing_close(struct backing *backing);
/* Gives the file its size, allocated or sparse, pinned or not. */
int backing_shape(struct backing *backing, off_t size, bool allocate, struct reply *rep);
/* Takes back what backing_open() and backing_shape() did to the file system. */
void backing_undo(struct backing *backing);
int backing_read_back(const struct backing *backing, struct reply *rep);

#endif
