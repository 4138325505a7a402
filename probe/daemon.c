// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "rounds.h"

enum {
	LEFT_MAX = 64,
	/* A process that has nothing in swap yet is looked at again, not more often than that. */
	AGAIN_NS = 250000000,
	/* Longest sleep while nothing is due: then somebody is going to wake the thread. */
	IDLE_NS = 1000000000,
};

enum trigger { TRIGGER_IDLE, TRIGGER_BACKGROUND, TRIGGER_PERIODIC };

static struct {
	bool running;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* Under the lock. */
	bool stop, paused;
	pid_t front;
	int left_count;
	struct {
		pid_t pid;
		uint64_t due_ns;
	} left[LEFT_MAX];
	/* Of the thread while it runs. */
	enum trigger trigger;
	uint64_t every_ns, delay_ns, last_ns;
	struct rounds rounds;
} self = { .lock = PTHREAD_MUTEX_INITIALIZER };

static pthread_mutex_t quiet = PTHREAD_MUTEX_INITIALIZER;

bool zram_quiet_begin(void)
{
	return !pthread_mutex_trylock(&quiet);
}

void zram_quiet_end(void)
{
	pthread_mutex_unlock(&quiet);
}

static void drop_left(int i)
{
	self.left[i] = self.left[--self.left_count];
}

static void add_left(pid_t pid, uint64_t after_ns)
{
	if (self.left_count == LEFT_MAX)
		return;
	self.left[self.left_count].pid = pid;
	self.left[self.left_count++].due_ns = now_ns(CLOCK_MONOTONIC) + after_ns;
}

void daemon_front(pid_t pid)
{
	pthread_mutex_lock(&self.lock);
	for (int i = self.left_count - 1; i >= 0; i--)
		if (self.left[i].pid == pid)
			drop_left(i);
	if (self.front && self.front != pid)
		add_left(self.front, self.delay_ns);
	self.front = pid;
	pthread_mutex_unlock(&self.lock);
}

void daemon_pause(void)
{
	pthread_mutex_lock(&self.lock);
	self.paused = true;
	if (self.running)
		pthread_cond_signal(&self.wake);
	pthread_mutex_unlock(&self.lock);
}

/* Which of those that left the front is due first; -1 if nobody left it. */
static int first_left(void)
{
	int first = -1;

	for (int i = 0; i < self.left_count; i++)
		if (first < 0 || self.left[i].due_ns < self.left[first].due_ns)
			first = i;
	return first;
}

/* When there is something to do. */
static uint64_t due_ns(uint64_t now)
{
	int first = first_left();

	switch (self.trigger) {
	case TRIGGER_BACKGROUND:
		return first < 0 ? now + IDLE_NS : self.left[first].due_ns;
	case TRIGGER_PERIODIC:
		return self.last_ns + self.every_ns;
	default:
		/* A pause that came too early does not count. */
		if (self.paused && now >= self.last_ns + self.every_ns)
			return now;
		self.paused = false;
		return now + IDLE_NS;
	}
}

static void wait_until(uint64_t at_ns)
{
	struct timespec until = { .tv_sec = (time_t)(at_ns / 1000000000), .tv_nsec = (long)(at_ns % 1000000000) };

	pthread_cond_timedwait(&self.wake, &self.lock, &until);
}

/* With the lock, which is open while it writes. */
static void write_back_idle(void)
{
	self.paused = false;
	pthread_mutex_unlock(&self.lock);
	pthread_mutex_lock(&quiet);
	round_of_idle(&self.rounds);
	pthread_mutex_unlock(&quiet);
	pthread_mutex_lock(&self.lock);
}

static void write_back_process(void)
{
	int first = first_left();
	pid_t pid = self.left[first].pid;
	enum found found;

	drop_left(first);
	pthread_mutex_unlock(&self.lock);
	pthread_mutex_lock(&quiet);
	found = round_of_process(&self.rounds, pid);
	pthread_mutex_unlock(&quiet);
	pthread_mutex_lock(&self.lock);
	/* Android writes back after it has compacted, so this waits until something is there. */
	if (found == FOUND_NOTHING && self.front != pid)
		add_left(pid, self.delay_ns > AGAIN_NS ? self.delay_ns : AGAIN_NS);
}

static void *run(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&self.lock);
	while (!self.stop) {
		uint64_t now = now_ns(CLOCK_MONOTONIC), due = due_ns(now);

		if (due > now) {
			wait_until(due);
			continue;
		}
		if (self.trigger == TRIGGER_BACKGROUND)
			write_back_process();
		else
			write_back_idle();
		self.last_ns = now_ns(CLOCK_MONOTONIC);
	}
	pthread_mutex_unlock(&self.lock);
	return NULL;
}

static enum trigger trigger_of(const struct request *req)
{
	const char *text = arg_text(req, "trigger", "");

	if (!strcmp(text, "background"))
		return TRIGGER_BACKGROUND;
	return strcmp(text, "periodic") ? TRIGGER_IDLE : TRIGGER_PERIODIC;
}

int cmd_daemon_start(const struct request *req, struct reply *rep)
{
	uint64_t age_s = arg_number(req, "age_s", 1);
	pthread_condattr_t attributes;
	int error;

	if (self.running)
		return reply_fail(rep, EALREADY, "the daemon runs");
	if (!age_s || age_s > UINT32_MAX || arg_number(req, "period_ms", 1) > UINT32_MAX ||
	    arg_number(req, "delay_ms", 0) > UINT32_MAX)
		return reply_fail(rep, 0, "age_s, delay_ms, period_ms: out of range");
	self.trigger = trigger_of(req);
	self.delay_ns = arg_number(req, "delay_ms", 0) * 1000000;
	self.every_ns =
		self.trigger == TRIGGER_PERIODIC ? arg_number(req, "period_ms", 1000) * 1000000 : age_s * 1000000000;
	self.last_ns = now_ns(CLOCK_MONOTONIC);
	self.stop = self.paused = false;
	self.front = 0;
	self.left_count = 0;
	if (rounds_begin(&self.rounds, arg_number(req, "zram", 0), arg_number(req, "limit_4k", 0),
			 arg_number(req, "total_4k", UINT64_MAX), self.trigger == TRIGGER_IDLE ? age_s : 0, rep))
		return -1;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&self.wake, &attributes);
	pthread_condattr_destroy(&attributes);
	error = pthread_create(&self.thread, NULL, run, NULL);
	if (error) {
		pthread_cond_destroy(&self.wake);
		rounds_free(&self.rounds);
		return reply_fail(rep, error, "start the daemon's thread");
	}
	self.running = true;
	reply_text(rep, "marks",
		   self.trigger == TRIGGER_BACKGROUND ? "slots of the process" :
		   self.rounds.age_s		      ? "by age" :
							"all, one round before");
	return 0;
}

/* Waits for a writeback that runs: nothing can end it. */
int cmd_daemon_stop(const struct request *req, struct reply *rep)
{
	int error;

	if (!self.running)
		return reply_fail(rep, 0, "the daemon does not run");
	pthread_mutex_lock(&self.lock);
	self.stop = true;
	self.rounds.stop = true;
	pthread_cond_signal(&self.wake);
	pthread_mutex_unlock(&self.lock);
	pthread_join(self.thread, NULL);
	pthread_cond_destroy(&self.wake);
	self.running = false;
	error = rounds_end(&self.rounds, arg_text(req, "out", ""), rep);
	rounds_free(&self.rounds);
	return error;
}

int cmd_daemon_front(const struct request *req, struct reply *rep)
{
	uint64_t pid = arg_number(req, "pid", 0);

	if (!pid || pid > INT32_MAX)
		return reply_fail(rep, 0, "pid=%llu: not one", (unsigned long long)pid);
	daemon_front((pid_t)pid);
	return 0;
}

int cmd_daemon_pause(const struct request *req, struct reply *rep)
{
	(void)req;
	(void)rep;
	daemon_pause();
	return 0;
}
