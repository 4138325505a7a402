// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "calls.h"

struct call calls[MAX_CALLS];

static struct call *free_call(void)
{
	for_each_call(call)
		if (!call->used)
			return call;
	return NULL;
}

static void split_words(struct call *call, size_t size)
{
	int count = 0;

	call->request[size] = '\0';
	for (size_t i = 0; i < size && count < MAX_WORDS; i += strlen(call->request + i) + 1)
		call->words[count++] = call->request + i;
	call->words[count] = NULL;
	call->at = 0;
}

struct call *take_call(int listener)
{
	int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC), out_err[2];
	struct call *call = free_call();
	ssize_t size;

	if (socket < 0)
		return NULL;
	size = call ? activity_receive(socket, call->request, sizeof(call->request) - 1, out_err) : -1;
	if (size <= 0) {
		close(socket);
		return NULL;
	}
	call->used = true;
	call->socket = socket;
	call->app = NULL;
	call->out = out_err[0];
	call->err = out_err[1];
	split_words(call, (size_t)size);
	return call;
}

pid_t pid_of(const struct call *call)
{
	struct ucred credentials = { 0 };
	socklen_t size = sizeof(credentials);

	getsockopt(call->socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size);
	return credentials.pid;
}

const char *next_word(struct call *call)
{
	const char *word = call->words[call->at];

	if (word)
		call->at++;
	return word;
}

static long long clock_us(void)
{
	return (long long)(now_ns(CLOCK_MONOTONIC) / 1000);
}

void begin_waiting(struct call *call)
{
	call->began_us = clock_us();
}

long long waited_us(const struct call *call)
{
	return clock_us() - call->began_us;
}

void answer(struct call *call, int status)
{
	unsigned char byte = (unsigned char)status;

	/* A client that is gone reads no status. */
	write(call->socket, &byte, 1);
	close_scoped(&call->socket);
	close_scoped(&call->out);
	close_scoped(&call->err);
	call->used = false;
}

void answer_line(struct call *call, int fd, int status, const char *format, ...)
{
	char line[REQUEST_ROOM];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	say(fd, "%s\n", line);
	answer(call, status);
}

void answer_exception(struct call *call, const char *message, const char *subject)
{
	say(call->err, "\nException occurred while executing '%s':\njava.lang.IllegalArgumentException: %s%s\n",
	    call->words[0], message, subject);
	answer(call, FAILED);
}
