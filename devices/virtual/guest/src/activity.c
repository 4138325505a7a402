// SPDX-License-Identifier: Apache-2.0
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "activity.h"

enum { PASSED_BYTES = 2 * sizeof(int) };

/* Aligned for a control message that holds two descriptors. */
union passed {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(PASSED_BYTES)];
};

static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = ACTIVITY_SOCKET };

int activity_listen(int backlog)
{
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	unlink(ACTIVITY_SOCKET);
	if (listener < 0 || bind(listener, (const struct sockaddr *)&address, sizeof(address)) ||
	    listen(listener, backlog))
		return -1;
	return listener;
}

static int send_request(int socket, char *words, size_t size, const int out_err[2])
{
	struct iovec part = { words, size };
	union passed passed = {
		.header = { .cmsg_len = CMSG_LEN(PASSED_BYTES), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS }
	};
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (out_err) {
		memcpy(CMSG_DATA(&passed.header), out_err, PASSED_BYTES);
		message.msg_control = &passed;
		message.msg_controllen = sizeof(passed);
	}
	return sendmsg(socket, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

int activity_ask(char *words, size_t size, const int out_err[2])
{
	int server = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (server < 0)
		return -1;
	if (connect(server, (const struct sockaddr *)&address, sizeof(address)) ||
	    send_request(server, words, size, out_err)) {
		close(server);
		return -1;
	}
	return server;
}

ssize_t activity_receive(int socket, char *words, size_t room, int out_err[2])
{
	struct iovec part = { words, room };
	union passed passed = { 0 };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &passed,
		.msg_controllen = sizeof(passed),
	};
	ssize_t size = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *header = size > 0 ? CMSG_FIRSTHDR(&message) : NULL;

	out_err[0] = out_err[1] = -1;
	if (header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(PASSED_BYTES))
		memcpy(out_err, CMSG_DATA(header), PASSED_BYTES);
	return size;
}
