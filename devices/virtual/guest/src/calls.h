/* SPDX-License-Identifier: Apache-2.0 */
// Calls of am (and of dumpsys, which comes the same way): its words, where to answer, and what it waits for.
#pragma once

#include "processes.h"

enum { MAX_CALLS = 16, MAX_WORDS = 48, REQUEST_ROOM = 4096, FAILED = 255, SO_PEERCRED = 17 };

enum launch_state { UNKNOWN, COLD, HOT };

struct call {
	int used, socket, out, err;
	char request[REQUEST_ROOM];
	const char *words[MAX_WORDS + 1]; // ends with 0
	int at; // the next word
	// of a start that waits until the app has drawn
	struct app *app;
	enum launch_state state;
	long began_us;
};

static struct call calls[MAX_CALLS];

static long waited_us(const struct call *call)
{
	return clock_us(CLOCK_MONOTONIC) - call->began_us;
}

// The client's pid, as binder would say it.
static long pid_of(const struct call *call)
{
	int credentials[3] = { 0 }, size = sizeof credentials;
	kernel(SYS_getsockopt, call->socket, SOL_SOCKET, SO_PEERCRED, (long)credentials, (long)&size, 0);
	return credentials[0];
}

static const char *next_word(struct call *call)
{
	const char *word = call->words[call->at];
	if (word)
		call->at++;
	return word;
}

static void answer(struct call *call, int status)
{
	unsigned char byte = (unsigned char)status;
	if (call->socket >= 0) {
		KERNEL(SYS_write, call->socket, &byte, 1);
		KERNEL(SYS_close, call->socket, 0, 0);
	}
	if (call->out >= 0)
		KERNEL(SYS_close, call->out, 0, 0);
	if (call->err >= 0)
		KERNEL(SYS_close, call->err, 0, 0);
	call->used = 0;
}

static void answer_line(struct call *call, int fd, int status, const char *line, const char *more)
{
	struct text text = { 0 };
	say(fd, put(put(put(&text, line), more), "\n"));
	answer(call, status);
}

// As ShellCommand shows what a command threw.
static void answer_exception(struct call *call, const char *message, const char *subject)
{
	struct text text = { 0 };
	put(put(&text, "\nException occurred while executing '"), call->words[0]);
	put(put(put(put(&text, "':\njava.lang.IllegalArgumentException: "), message), subject), "\n");
	say(call->err, &text);
	answer(call, FAILED);
}

static void split_words(struct call *call, long size)
{
	int count = 0;
	call->request[size] = 0;
	for (long i = 0; i < size && count < MAX_WORDS; i += (long)length(call->request + i) + 1) {
		call->words[count++] = call->request + i;
	}
	call->words[count] = 0;
	call->at = 0;
}

// The next client's request; 0 when there is none or no room for it.
static struct call *take_call(long listener)
{
	struct call *call = 0;
	for (struct call *free = calls; free < calls + MAX_CALLS && !call; free++) {
		if (!free->used)
			call = free;
	}
	long socket = kernel(SYS_accept4, listener, 0, 0, SOCK_CLOEXEC, 0, 0);
	if (socket < 0)
		return 0;
	struct vector part = { 0, REQUEST_ROOM - 1 };
	struct passed passed = { 0, 0, 0, { -1, -1 } };
	struct message message = { 0, 0, &part, 1, &passed, sizeof passed, 0 };
	if (call)
		part.base = call->request;
	long size = call ? KERNEL(SYS_recvmsg, socket, &message, MSG_CMSG_CLOEXEC) : -1;
	if (size <= 0) {
		KERNEL(SYS_close, socket, 0, 0);
		return 0;
	}
	int has_fds = message.control_size == sizeof passed;
	call->used = 1, call->socket = (int)socket, call->app = 0;
	call->out = has_fds ? passed.fds[0] : -1, call->err = has_fds ? passed.fds[1] : -1;
	split_words(call, size);
	return call;
}
