// SPDX-License-Identifier: Apache-2.0
/*
 * A backing file and its loop device. toybox's losetup knows neither direct I/O nor block sizes, and without both
 * writeback ends in the page cache instead of on the storage.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "backing.h"

enum {
	ATTEMPTS = 16,
	/* ueventd makes the node some time after the kernel made the device. */
	NODE_WAIT_MS = 2000,
	DETACH_WAIT_MS = 5000,
	REMOVE_WAIT_MS = 1000,
	PAUSE_MS = 20,
	/*
	 * Loop devices of our own, made for one file and removed with it: what a kernel keeps of a device that was used
	 * once, such as its write cache, goes with it.
	 */
	OWN_FIRST = 240,
	OWN_LAST = 255,
};

struct loop {
	int number;
	int fd;
	char node[64];
	const char *configured_by;
};

static void loop_close(struct loop *loop)
{
	close_scoped(&loop->fd);
}

/* Opens the node of a loop device, Android's place first; -1 with errno. */
static int open_node(struct loop *loop, int flags, int wait_ms)
{
	for (int waited = 0;; waited += PAUSE_MS) {
		snprintf(loop->node, sizeof(loop->node), "/dev/block/loop%d", loop->number);
		loop->fd = open(loop->node, flags | O_CLOEXEC);
		if (loop->fd >= 0 || errno != ENOENT)
			break;
		snprintf(loop->node, sizeof(loop->node), "/dev/loop%d", loop->number);
		loop->fd = open(loop->node, flags | O_CLOEXEC);
		if (loop->fd >= 0 || errno != ENOENT || waited >= wait_ms)
			break;
		sleep_ms(PAUSE_MS);
	}
	return loop->fd < 0 ? -1 : 0;
}

static bool attached_to(int number, const char *path)
{
	char name[96], text[PATH_BYTES + 16], deleted[PATH_BYTES + 16];

	snprintf(name, sizeof(name), "/sys/block/loop%d/loop/backing_file", number);
	if (read_text(name, text, sizeof(text)))
		return false;
	snprintf(deleted, sizeof(deleted), "%s (deleted)", path);
	return !strcmp(text, path) || !strcmp(text, deleted);
}

/* The next loop device after a number that has this file behind it, -1 if none. */
static int next_attached(int after, const char *path)
{
	int number, best = -1;
	struct dirent *entry;
	DIR *dir = opendir("/sys/block");

	while (dir && (entry = readdir(dir))) {
		if (sscanf(entry->d_name, "loop%d", &number) != 1 || number <= after)
			continue;
		if ((best < 0 || number < best) && attached_to(number, path))
			best = number;
	}
	if (dir)
		closedir(dir);
	return best;
}

static void name_info(struct loop_info64 *info, const char *path)
{
	snprintf((char *)info->lo_file_name, sizeof(info->lo_file_name), "%s", path);
}

/* Before 5.8, one property at a time; 0 done, 1 somebody else was faster, -1 failed. */
static int configure_stepwise(struct loop *loop, const struct backing *backing, unsigned long block, struct reply *rep)
{
	struct loop_info64 info = { 0 };

	loop->configured_by = "LOOP_SET_FD";
	if (ioctl(loop->fd, LOOP_SET_FD, backing->fd))
		return errno == EBUSY ? 1 : reply_fail(rep, errno, "LOOP_SET_FD %s", loop->node);
	name_info(&info, backing->path);
	if (ioctl(loop->fd, LOOP_SET_STATUS64, &info))
		reply_fail(rep, errno, "LOOP_SET_STATUS64 %s", loop->node);
	else if (ioctl(loop->fd, LOOP_SET_BLOCK_SIZE, block))
		reply_fail(rep, errno, "LOOP_SET_BLOCK_SIZE %lu %s", block, loop->node);
	if (!rep->failed)
		return 0;
	ioctl(loop->fd, LOOP_CLR_FD);
	return -1;
}

static int configure(struct loop *loop, const struct backing *backing, unsigned long block, bool direct,
		     struct reply *rep)
{
	struct loop_config config = { .fd = (uint32_t)backing->fd, .block_size = (uint32_t)block };

	name_info(&config.info, backing->path);
	config.info.lo_flags = direct ? LO_FLAGS_DIRECT_IO : 0;
	loop->configured_by = "LOOP_CONFIGURE";
	if (!ioctl(loop->fd, LOOP_CONFIGURE, &config))
		return 0;
	if (errno == EBUSY)
		return 1;
	/* A kernel that does not know the call says EINVAL, or ENOTTY; the older calls then name what is wrong. */
	if (errno == EINVAL || errno == ENOTTY)
		return configure_stepwise(loop, backing, block, rep);
	return reply_fail(rep, errno, "LOOP_CONFIGURE %s", loop->node);
}

/* A loop device that nobody has: one of our own, or a free one where the kernel makes none; -1 with errno. */
static int unused_number(int control)
{
	for (int number = OWN_FIRST; number <= OWN_LAST; number++) {
		if (ioctl(control, LOOP_CTL_ADD, number) >= 0)
			return number;
		if (errno != EEXIST)
			break;
	}
	return ioctl(control, LOOP_CTL_GET_FREE);
}

/* One that is bound or open stays: the kernel refuses to remove it. */
static void remove_own(int control, int number)
{
	if (number < OWN_FIRST || number > OWN_LAST)
		return;
	for (int waited = 0; ioctl(control, LOOP_CTL_REMOVE, number) < 0 && errno == EBUSY; waited += PAUSE_MS) {
		if (waited >= REMOVE_WAIT_MS)
			return;
		sleep_ms(PAUSE_MS);
	}
}

/* Also those that were made for an attachment that never came about. */
static void remove_unbound(void)
{
	SCOPED_FD control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	char folder[64], bound[96];

	for (int number = OWN_FIRST; control >= 0 && number <= OWN_LAST; number++) {
		snprintf(folder, sizeof(folder), "/sys/block/loop%d", number);
		snprintf(bound, sizeof(bound), "%s/loop/backing_file", folder);
		if (!access(folder, F_OK) && access(bound, F_OK))
			remove_own(control, number);
	}
}

static int loop_attach(struct loop *loop, const struct backing *backing, unsigned long block, bool direct,
		       struct reply *rep)
{
	SCOPED_FD control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	if (control < 0)
		return reply_fail(rep, errno, "open /dev/loop-control");
	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		int raced;

		loop->number = unused_number(control);
		if (loop->number < 0)
			return reply_fail(rep, errno, "LOOP_CTL_GET_FREE");
		if (open_node(loop, O_RDWR, NODE_WAIT_MS))
			return reply_fail(rep, errno, "open %s", loop->node);
		raced = configure(loop, backing, block, direct, rep);
		if (raced <= 0)
			return raced;
		close_scoped(&loop->fd);
	}
	return reply_fail(rep, EBUSY, "%d free loop devices in turn were taken by others", ATTEMPTS);
}

/* LOOP_CONFIGURE drops direct I/O without a word where it cannot be had; asking again gives the reason. */
static int loop_read_back(struct loop *loop, bool direct, struct reply *rep)
{
	char dio_path[96], block_path[96];
	uint64_t dio, block;
	int dio_errno = 0;

	snprintf(dio_path, sizeof(dio_path), "/sys/block/loop%d/loop/dio", loop->number);
	snprintf(block_path, sizeof(block_path), "/sys/block/loop%d/queue/logical_block_size", loop->number);
	if (read_numbers(dio_path, &dio, 1) == 1 && dio != direct &&
	    ioctl(loop->fd, LOOP_SET_DIRECT_IO, (unsigned long)direct))
		dio_errno = errno;
	if (read_numbers(dio_path, &dio, 1) != 1)
		return reply_fail(rep, errno, "read %s", dio_path);
	if (read_numbers(block_path, &block, 1) != 1)
		return reply_fail(rep, errno, "read %s", block_path);
	reply_text(rep, "loop", loop->node);
	reply_i64(rep, "number", loop->number);
	reply_u64(rep, "dio", dio);
	reply_text(rep, "dio_errno", errno_name(dio_errno));
	reply_u64(rep, "block_size", block);
	reply_text(rep, "configured_by", loop->configured_by);
	return 0;
}

static int attach(struct backing *backing, struct loop *loop, const struct request *req, struct reply *rep)
{
	bool direct = arg_number(req, "direct", 0);

	if (backing_shape(backing, (off_t)arg_number(req, "size", 0), arg_number(req, "allocate", 0), rep) ||
	    loop_attach(loop, backing, (unsigned long)arg_number(req, "block", 0), direct, rep))
		return -1;
	if (!loop_read_back(loop, direct, rep) && !backing_read_back(backing, rep))
		return 0;
	ioctl(loop->fd, LOOP_CLR_FD);
	return -1;
}

int cmd_loop_attach(const struct request *req, struct reply *rep)
{
	uint64_t size = arg_number(req, "size", 0), block = arg_number(req, "block", 0);
	__attribute__((cleanup(backing_close))) struct backing backing = { .fd = -1 };
	__attribute__((cleanup(loop_close))) struct loop loop = { .fd = -1 };
	char path[PATH_BYTES];
	int number;

	if (!block || block > 65536 || !size || size % block || size > INT64_MAX)
		return reply_fail(rep, 0, "size=%llu block=%llu: expected a size that is a multiple of the block",
				  (unsigned long long)size, (unsigned long long)block);
	if (backing_resolve(arg_text(req, "file", ""), path, rep))
		return -1;
	number = next_attached(-1, path);
	if (number >= 0)
		return reply_fail(rep, EBUSY, "%s is attached to loop%d already", path, number);
	backing.path = path;
	backing.pin = arg_number(req, "pin", 0);
	if (backing_open(&backing, rep))
		return -1;
	if (!attach(&backing, &loop, req, rep))
		return 0;
	loop_close(&loop);
	remove_unbound();
	backing_undo(&backing);
	return -1;
}

/*
 * LOOP_CLR_FD on a loop that somebody uses succeeds and takes effect when they close it. So a holder is looked for
 * first: zram, a mounted file system and swap all claim the device exclusively.
 */
static int detach(int number, const char *path, struct reply *rep)
{
	__attribute__((cleanup(loop_close))) struct loop loop = { .number = number, .fd = -1 };

	if (open_node(&loop, O_RDWR | O_EXCL, NODE_WAIT_MS))
		return reply_fail(rep, errno, "open %s", loop.node);
	close_scoped(&loop.fd);
	if (open_node(&loop, O_RDWR, 0))
		return reply_fail(rep, errno, "open %s", loop.node);
	/* ENXIO: it was detached in between. */
	if (ioctl(loop.fd, LOOP_CLR_FD) && errno != ENXIO)
		return reply_fail(rep, errno, "LOOP_CLR_FD %s", loop.node);
	close_scoped(&loop.fd);
	for (int waited = 0; attached_to(number, path); waited += PAUSE_MS) {
		if (waited >= DETACH_WAIT_MS)
			return reply_fail(rep, EBUSY, "%s is still attached after %d ms", loop.node, waited);
		sleep_ms(PAUSE_MS);
	}
	return 0;
}

int cmd_loop_detach(const struct request *req, struct reply *rep)
{
	char path[PATH_BYTES];
	int number = -1, count = 0;
	bool removed = false;

	if (backing_resolve(arg_text(req, "file", ""), path, rep))
		return -1;
	while ((number = next_attached(number, path)) >= 0) {
		if (detach(number, path, rep))
			return -1;
		count++;
	}
	remove_unbound();
	if (arg_number(req, "remove", 0)) {
		removed = !unlink(path);
		if (!removed && errno != ENOENT)
			return reply_fail(rep, errno, "remove %s", path);
	}
	reply_i64(rep, "detached", count);
	reply_u64(rep, "removed", removed);
	return 0;
}
