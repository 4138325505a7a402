// SPDX-License-Identifier: Apache-2.0
/* A person who switches between apps: one round of switches, played on the phone without anybody in between. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "apps.h"
#include "blockstat.h"
#include "daemon.h"

enum {
	/* An app that is killed while it starts is started once more. */
	TRIES = 2,
	SECTORS_PER_4K = 8,
	DWELL_MAX_MS = 3600 * 1000,
};

enum kind_of_switch { SWITCH_HOT, SWITCH_WARM, SWITCH_COLD, SWITCH_MISSED };

struct switched {
	enum kind_of_switch kind;
	uint64_t t_ns, flash_4k;
	struct app_answer seen;
};

static int parse_sequence(const char *text, int *sequence, struct reply *rep)
{
	int count = 0;

	for (const char *at = text;;) {
		char *end;
		unsigned long number = strtoul(at, &end, 10);

		if (*at < '0' || *at > '9' || (*end && *end != ','))
			return reply_fail(rep, 0, "sequence=%.80s: expected numbers of apps from 0, with commas", text);
		if (number >= (unsigned long)apps.count)
			return reply_fail(rep, 0, "sequence: app %lu, but there are %d", number, apps.count);
		if (count == SWITCHES_MAX)
			return reply_fail(rep, 0, "sequence: more than %d switches", SWITCHES_MAX);
		sequence[count++] = (int)number;
		if (!*end)
			return count;
		at = end + 1;
	}
}

/* Pages that the backing device was read for; unlike zram's own counters these never wait for a writeback. */
static uint64_t flash_reads_4k(const char *backing)
{
	return backing ? blockstat_of(backing).read_sectors / SECTORS_PER_4K : 0;
}

static int bring_to_front(int number, struct switched *switched, struct reply *rep)
{
	struct app_order order = { .task = APP_TOUCH };
	bool cold = false;

	switched->t_ns = now_ns(CLOCK_MONOTONIC);
	for (int tries = 0; tries < TRIES; tries++) {
		int became = APP_ANSWERED;

		switched->seen = (struct app_answer){ 0 };
		if (!apps.app[number].pid) {
			cold = true;
			order.since_ns = switched->t_ns;
			became = app_start(number, rep);
		}
		if (became == APP_ANSWERED)
			became = app_ask(number, &order, &switched->seen, rep);
		if (became == APP_FAILED)
			return -1;
		if (became == APP_ANSWERED) {
			switched->kind = SWITCH_HOT;
			if (switched->seen.swapped || switched->seen.majflt)
				switched->kind = SWITCH_WARM;
			if (cold)
				switched->kind = SWITCH_COLD;
			return 0;
		}
	}
	switched->seen = (struct app_answer){ 0 };
	switched->kind = SWITCH_MISSED;
	return 0;
}

static int switch_to(int number, const char *backing, struct switched *switched, struct reply *rep)
{
	uint64_t reads = flash_reads_4k(backing);
	int before = apps.front;

	if (bring_to_front(number, switched, rep))
		return -1;
	switched->flash_4k = flash_reads_4k(backing) - reads;
	if (before >= 0 && before != number)
		apps.app[before].left_ns = now_ns(CLOCK_MONOTONIC);
	apps.front = number;
	apps.app[number].compacted = false;
	apps_rank();
	daemon_front(apps.app[number].pid);
	return 0;
}

static int dwell(uint64_t dwell_ns, struct reply *rep)
{
	uint64_t until = now_ns(CLOCK_MONOTONIC) + dwell_ns;

	if (apps_compact(rep))
		return -1;
	daemon_pause();
	apps_watch(until);
	return 0;
}

const char *const switch_columns[] = {
	"app",	   "t_ns",	 "latency_ns", "kind",	     "majflt", "flash_4k",
	"swapped", "slowest_ns", "corrupt",    "control_ns", NULL,
};
const char *const death_columns[] = { "app", "t_ns", "pid", "signal", NULL };

static void reply_switches(struct reply *rep, const int *sequence, const struct switched *switched, int count)
{
	reply_open(rep, "switches", '[');
	for (int i = 0; i < count; i++) {
		const struct app_answer *seen = &switched[i].seen;
		const uint64_t fields[] = {
			(uint64_t)sequence[i], switched[i].t_ns, seen->latency_ns, switched[i].kind, seen->majflt,
			switched[i].flash_4k,  seen->swapped,	 seen->slowest_ns, seen->corrupt,    seen->control_ns,
		};

		_Static_assert(COUNT(fields) == COUNT(switch_columns) - 1, "a name for each");
		reply_open(rep, NULL, '[');
		for (size_t k = 0; k < COUNT(fields); k++)
			reply_u64(rep, NULL, fields[k]);
		reply_close(rep, '[');
	}
	reply_close(rep, '[');
}

/* Each is told once. */
static void reply_deaths(struct reply *rep)
{
	reply_open(rep, "deaths", '[');
	for (int i = 0; i < apps.deaths; i++) {
		const struct death *death = &apps.death[i];
		const int64_t fields[] = { death->app, (int64_t)death->t_ns, death->pid, death->signal };

		_Static_assert(COUNT(fields) == COUNT(death_columns) - 1, "a name for each");
		reply_open(rep, NULL, '[');
		for (size_t k = 0; k < COUNT(fields); k++)
			reply_i64(rep, NULL, fields[k]);
		reply_close(rep, '[');
	}
	reply_close(rep, '[');
	apps.deaths = 0;
}

int cmd_apps_switch(const struct request *req, struct reply *rep)
{
	static struct switched switched[SWITCHES_MAX];
	uint64_t dwell_ms = arg_number(req, "dwell_ms", 0);
	const char *backing = arg_text(req, "backing", NULL);
	int sequence[SWITCHES_MAX], count, done = 0;

	count = parse_sequence(arg_text(req, "sequence", ""), sequence, rep);
	if (count < 0)
		return -1;
	if (dwell_ms > DWELL_MAX_MS)
		return reply_fail(rep, 0, "dwell_ms=%llu: more than an hour", (unsigned long long)dwell_ms);
	while (done < count && !switch_to(sequence[done], backing, &switched[done], rep)) {
		done++;
		if (dwell(dwell_ms * 1000000, rep))
			break;
	}
	reply_switches(rep, sequence, switched, done);
	reply_deaths(rep);
	reply_i64(rep, "alive", apps_alive());
	reply_u64(rep, "compactions", apps.compactions);
	reply_text(rep, "compaction", apps.compacts_itself ? "madvise" : "process_madvise");
	return rep->failed ? -1 : 0;
}
