// SPDX-License-Identifier: Apache-2.0
/*
 * Commands as lines on stdin, one line of answer each. A thread of its own reads stdin, so that the end of the
 * connection is noticed while a command runs: whatever the process holds then goes with it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "probe.h"

enum {
	EXIT_ALARM = 3,
	EXIT_BROKEN = 4,
	ALARM_MAX_S = 7 * 24 * 3600,
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	size_t used;
	char text[16 * LINE_BYTES];
} queue = { .lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER };

static _Noreturn void leave(const char *why, int status)
{
	if (write(STDERR_FILENO, why, strlen(why)) < 0)
		status = EXIT_BROKEN;
	_exit(status);
}

static void on_alarm(int signal)
{
	(void)signal;
	leave("probe: the alarm ran out\n", EXIT_ALARM);
}

static void *read_stdin(void *unused)
{
	char chunk[LINE_BYTES];

	(void)unused;
	for (;;) {
		ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(0);
		pthread_mutex_lock(&queue.lock);
		if (queue.used + (size_t)n > sizeof(queue.text))
			leave("probe: too many commands are waiting\n", EXIT_BROKEN);
		memcpy(queue.text + queue.used, chunk, (size_t)n);
		queue.used += (size_t)n;
		pthread_cond_signal(&queue.filled);
		pthread_mutex_unlock(&queue.lock);
	}
	return NULL;
}

/* Waits for a line and takes it without its newline; false if it does not fit. */
static bool take_line(char *line, size_t room)
{
	size_t length;
	char *end;

	pthread_mutex_lock(&queue.lock);
	while (!(end = memchr(queue.text, '\n', queue.used)))
		pthread_cond_wait(&queue.filled, &queue.lock);
	length = (size_t)(end - queue.text);
	if (length < room) {
		memcpy(line, queue.text, length);
		line[length] = '\0';
	}
	queue.used -= length + 1;
	memmove(queue.text, end + 1, queue.used);
	pthread_mutex_unlock(&queue.lock);
	return length < room;
}

static void answer(char *line, struct reply *rep)
{
	char *words[32], *rest = line, *word;
	int count = 0;

	while ((word = strtok_r(rest, " \t\r", &rest))) {
		if (count == (int)(COUNT(words))) {
			reply_init(rep, words[0]);
			reply_fail(rep, 0, "too many words");
			return;
		}
		words[count++] = word;
	}
	dispatch(count, words, rep);
}

int serve(const struct request *req, struct reply *rep)
{
	uint64_t seconds = arg_number(req, "alarm", 0);
	static char line[LINE_BYTES];
	pthread_t reader;
	int error;

	if (seconds < 1 || seconds > ALARM_MAX_S)
		return reply_fail(rep, 0, "alarm=%llu: expected 1 to %d seconds", (unsigned long long)seconds,
				  ALARM_MAX_S);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, on_alarm);
	alarm((unsigned int)seconds);
	error = pthread_create(&reader, NULL, read_stdin, NULL);
	if (error)
		return reply_fail(rep, error, "start the thread that reads stdin");
	/* Again, now that the thread's stack is there. */
	mlockall(MCL_CURRENT);
	for (;;) {
		if (take_line(line, sizeof(line))) {
			answer(line, rep);
		} else {
			reply_init(rep, NULL);
			reply_fail(rep, 0, "a line of more than %d bytes", LINE_BYTES - 1);
		}
		if (reply_send(rep))
			leave("probe: nobody reads the answers\n", EXIT_BROKEN);
	}
}
