/* SPDX-License-Identifier: Apache-2.0 */
// What system_server, its clients (am, lmkd) and the apps' processes say to each other.
#pragma once

#include "text.h"

#define ACTIVITY_SOCKET "/dev/socket/activity"

enum {
	AF_UNIX = 1,
	SOCK_SEQPACKET = 5,
	SOCK_CLOEXEC = 02000000,
	SOL_SOCKET = 1,
	SCM_RIGHTS = 1,
	MSG_NOSIGNAL = 0x4000,
	MSG_CMSG_CLOEXEC = 0x40000000
};

struct address {
	unsigned short family;
	char path[108];
};

struct vector {
	const void *base;
	unsigned long size;
};

// A control message with the client's stdout and stderr: the server answers into them, as over binder.
struct passed {
	unsigned long size;
	int level, type;
	int fds[2];
};

struct message {
	void *name;
	unsigned name_size;
	struct vector *parts;
	unsigned long count;
	void *control;
	unsigned long control_size;
	int flags;
};

// What an app's process is told first, over the socket that is its fd 3. Its base.apk is fd 4.
struct launch {
	long anonymous_pages, working_pages, file_pages, crashes;
};

enum { APP_SOCKET = 3, APP_FILE = 4, RESUME = 'r', DRAWN = 'd' };

static inline struct address activity_address(void)
{
	struct address address = { AF_UNIX, ACTIVITY_SOCKET };
	return address;
}

// The socket to system_server, with the request sent, or a negative error. `words` end with 0 each. Without `fds`,
// nothing is to be answered.
static inline long ask_activity(const char *words, unsigned long size, const int *fds)
{
	struct address address = activity_address();
	struct vector part = { words, size };
	struct passed passed = { sizeof passed, SOL_SOCKET, SCM_RIGHTS, { fds ? fds[0] : -1, fds ? fds[1] : -1 } };
	struct message message = { 0, 0, &part, 1, fds ? &passed : 0, fds ? sizeof passed : 0, 0 };
	long fd = KERNEL(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	long done = KERNEL(SYS_connect, fd, &address, sizeof address);
	if (done >= 0)
		done = KERNEL(SYS_sendmsg, fd, &message, MSG_NOSIGNAL);
	if (done >= 0)
		return fd;
	KERNEL(SYS_close, fd, 0, 0);
	return done;
}
