/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of am (and of dumpsys, which comes the same way): their words, where to answer, and what they wait for. */
#ifndef GUEST_CALLS_H
#define GUEST_CALLS_H

#include "processes.h"

enum { MAX_CALLS = 16, MAX_WORDS = 48, REQUEST_ROOM = 4096, FAILED = 255 };

enum launch_state { UNKNOWN, COLD, HOT };

struct call {
	bool used;
	int socket, out, err;
	char request[REQUEST_ROOM];
	const char *words[MAX_WORDS + 1]; /* ends with NULL */
	int at; /* the next word */
	/* Of a start that waits until the app has drawn. */
	struct app *app;
	enum launch_state state;
	long long began_us;
};

extern struct call calls[MAX_CALLS];

#define for_each_call(one) for (struct call *one = calls; one < calls + MAX_CALLS; one++)

/* The next client's request; NULL when there is none or no room for it. */
struct call *take_call(int listener);
/* The client's pid, as binder would say it. */
pid_t pid_of(const struct call *call);
/* NULL after the last one. */
const char *next_word(struct call *call);

void begin_waiting(struct call *call);
long long waited_us(const struct call *call);

/* Each of these ends the call. */
void answer(struct call *call, int status);
void answer_line(struct call *call, int fd, int status, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* As ShellCommand shows what a command threw. */
void answer_exception(struct call *call, const char *message, const char *subject);

#endif
