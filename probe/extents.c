// SPDX-License-Identifier: Apache-2.0
/* Where a file lies on its disk, so that a request at a loop device can be found again below it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "records.h"
#include "system.h"

enum {
	AT_ONCE = 256,
	EXTENTS_MAX = 1 << 16,
};

/* One call's worth of extents from a place in the file on; returns how many, or -1 with errno. */
static int ask(int fd, uint64_t from, struct fiemap *map, struct extent *out, bool *last)
{
	*map = (struct fiemap){ .fm_start = from,
				.fm_length = FIEMAP_MAX_OFFSET - from,
				.fm_flags = FIEMAP_FLAG_SYNC,
				.fm_extent_count = AT_ONCE };
	if (ioctl(fd, FS_IOC_FIEMAP, map))
		return -1;
	for (uint32_t i = 0; i < map->fm_mapped_extents; i++) {
		const struct fiemap_extent *extent = &map->fm_extents[i];

		out[i] = (struct extent){ extent->fe_logical, extent->fe_physical, extent->fe_length };
		*last = extent->fe_flags & FIEMAP_EXTENT_LAST;
	}
	return (int)map->fm_mapped_extents;
}

int cmd_extents(const struct request *req, struct reply *rep)
{
	const char *path = arg_text(req, "file", "");
	SCOPED_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	SCOPED_BUFFER map = { 0 }, extents = { 0 };
	size_t count = 0;
	uint64_t from = 0;
	struct extent *extent;
	bool last = false;

	if (fd < 0)
		return reply_fail(rep, errno, "open %s", path);
	if (buffer_make(&map, 1, sizeof(struct fiemap) + AT_ONCE * sizeof(struct fiemap_extent), rep) ||
	    buffer_make(&extents, EXTENTS_MAX, sizeof(*extent), rep))
		return -1;
	extent = extents.data;
	while (!last) {
		int got;

		if (count + AT_ONCE > EXTENTS_MAX)
			return reply_fail(rep, 0, "%s: in more than %d pieces", path, EXTENTS_MAX);
		got = ask(fd, from, map.data, extent + count, &last);
		if (got < 0)
			return reply_fail(rep, errno, "FS_IOC_FIEMAP %s", path);
		if (!got)
			break;
		count += (size_t)got;
		from = extent[count - 1].logical + extent[count - 1].bytes;
	}
	reply_u64(rep, "extents", count);
	return write_out(arg_text(req, "out", ""), extent, count * sizeof(*extent), rep);
}
