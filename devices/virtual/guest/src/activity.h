/* SPDX-License-Identifier: Apache-2.0 */
/* What system_server, its clients (am, lmkd) and the apps' processes say to each other. */
#ifndef GUEST_ACTIVITY_H
#define GUEST_ACTIVITY_H

#include <stdint.h>
#include <sys/types.h>

#define ACTIVITY_SOCKET "/dev/socket/activity"

/* What an app's process is told first, over the socket that is its fd 3. Its base.apk is fd 4. */
struct launch {
	int64_t anonymous_pages, working_pages, file_pages; /* of 4 KiB */
	int64_t crashes;
};

enum { APP_SOCKET = 3, APP_FILE = 4, RESUME = 'r', DRAWN = 'd' };

/* A socket that clients find; -1 with errno. */
int activity_listen(int backlog);
/*
 * The socket to system_server with the request sent, or -1 with errno. Each word ends with 0. The client's stdout and
 * stderr go with it: the server answers into them, as over binder. Without them (NULL) nothing is to be answered.
 */
int activity_ask(char *words, size_t size, const int out_err[2]);
/* The length of a request and, or -1 each, where to answer. */
ssize_t activity_receive(int socket, char *words, size_t room, int out_err[2]);

#endif
