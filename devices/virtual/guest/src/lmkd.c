// SPDX-License-Identifier: Apache-2.0
/*
 * lmkd: kills the app that is needed least when memory runs out. It waits for pressure stall events and decides as
 * Android's (system/memory/lmkd/lmkd.cpp, mp_event_psi): by zone watermarks, free swap and thrashing of the page cache.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "activity.h"
#include "events.h"
#include "pressure.h"
#include "syscalls.h"
#include "victims.h"

enum {
	SOME = 0,
	FULL = 1,
	POLL_SHORT_MS = 20,
	POLL_LONG_MS = 100,
	WINDOW_MS = 1000,
	KILL_PAUSE_MS = 300,
	WATERMARKS_MS = 60000,
	SWAP_LOW_PERCENT = 10,
	THRASHING_LIMIT = 100,
	ADJ_PERCEPTIBLE = 200,
};

/* kill_reason in killinfo, as in lmkd's statslog.h. */
enum kill_reason {
	NONE = -1,
	PRESSURE_AFTER_KILL = 0,
	NOT_RESPONDING = 1,
	LOW_SWAP_AND_THRASHING = 2,
	LOW_MEM_AND_SWAP = 3,
	LOW_MEM_AND_THRASHING = 4,
	DIRECT_RECLAIM_AND_THRASHING = 5,
};

struct decision {
	enum kill_reason reason;
	int min_adj;
	long long thrashing;
	char why[128];
};

static struct memory memory, before;
static long long base_refaults, base_file_pages, window_began_ms, last_kill_ms;
static bool killed_since_calm;

static int monitor(const char *trigger)
{
	int fd = open("/proc/pressure/memory", O_RDWR | O_CLOEXEC);

	if (fd < 0 || write(fd, trigger, strlen(trigger) + 1) < 0)
		fail(1, "lmkd: no pressure stall events\n");
	return fd;
}

/* How much of the page cache was read again since the window began, in percent. */
static long long thrashing(long long now)
{
	long long percent = (memory.refaults - base_refaults) * 100 / (base_file_pages + 1);

	if (now - window_began_ms < WINDOW_MS)
		return percent;
	window_began_ms = now;
	base_refaults = memory.refaults;
	base_file_pages = (memory.kib[ACTIVE_FILE] + memory.kib[INACTIVE_FILE]) / page_kib();
	return 0;
}

static enum reclaim reclaim_state(void)
{
	if (memory.scanned_directly != before.scanned_directly)
		return DIRECT_RECLAIM;
	return memory.scanned_by_kswapd != before.scanned_by_kswapd ? KSWAPD_RECLAIM : NO_RECLAIM;
}

static struct decision decide(int event, long long now)
{
	enum watermark mark = lowest_watermark(&memory);
	enum reclaim reclaim = reclaim_state();
	struct decision made = { .reason = NONE, .thrashing = thrashing(now) };
	long long thrashed = made.thrashing, free = free_swap_kib(&memory);
	long long low = memory.kib[SWAP_TOTAL] * SWAP_LOW_PERCENT / 100;
	const char *breached = mark == BELOW_MIN ? "min" : "low";

	if (reclaim == NO_RECLAIM && memory.refaults == before.refaults)
		return made;
	if (killed_since_calm && mark == BELOW_MIN) {
		made.reason = PRESSURE_AFTER_KILL;
		snprintf(made.why, sizeof(made.why), "min watermark is breached even after kill");
	} else if (event == FULL) {
		made.reason = NOT_RESPONDING;
		snprintf(made.why, sizeof(made.why), "device is not responding");
	} else if (free < low && thrashed > THRASHING_LIMIT) {
		made.reason = LOW_SWAP_AND_THRASHING;
		snprintf(made.why, sizeof(made.why), "device is low on swap (%lldkB < %lldkB) and thrashing (%lld%%)",
			 free, low, thrashed);
	} else if (free < low && mark < ABOVE_HIGH) {
		made.reason = LOW_MEM_AND_SWAP;
		snprintf(made.why, sizeof(made.why), "%s watermark is breached and swap is low (%lldkB < %lldkB)",
			 breached, free, low);
	} else if (mark < ABOVE_HIGH && thrashed > THRASHING_LIMIT) {
		made.reason = LOW_MEM_AND_THRASHING;
		snprintf(made.why, sizeof(made.why), "%s watermark is breached and thrashing (%lld%%)", breached,
			 thrashed);
	} else if (reclaim == DIRECT_RECLAIM && thrashed > THRASHING_LIMIT) {
		made.reason = DIRECT_RECLAIM_AND_THRASHING;
		snprintf(made.why, sizeof(made.why), "device is in direct reclaim and thrashing (%lld%%)", thrashed);
	}
	/* What the user perceives is spared unless there is no memory at all. */
	if (made.reason >= LOW_SWAP_AND_THRASHING && mark > BELOW_MIN && thrashed < 2 * THRASHING_LIMIT)
		made.min_adj = ADJ_PERCEPTIBLE + 1;
	return made;
}

static void log_kill(const struct victim *victim, const struct decision *decision, long long swap_kib,
		     long long since_ms)
{
	struct text info = { 0 };
	char name[128];

	text_add(&info, "%d,%d,%d,%d,%lld,%d", (int)victim->pid, victim->uid, victim->adj, decision->min_adj,
		 victim->rss_kib, decision->reason);
	for (int i = 0; i < FIELDS; i++)
		text_add(&info, ",%lld", memory.kib[i]);
	/* since the event, since the last wake-up, wake-ups, skipped ones; swapped size, GPU, thrashing, its maximum */
	text_add(&info, ",%lld,0,1,0,%lld,0,%lld,%lld", since_ms, swap_kib, decision->thrashing, decision->thrashing);
	add_pressure(&info, "/proc/pressure/memory", "some");
	add_pressure(&info, "/proc/pressure/memory", "full");
	add_pressure(&info, "/proc/pressure/io", "some");
	add_pressure(&info, "/proc/pressure/io", "full");
	add_pressure(&info, "/proc/pressure/cpu", "some");
	log_event("killinfo", "%s", info.is);
	if (read_process(victim->pid, "cmdline", name, sizeof(name)) <= 0)
		name[0] = '\0';
	log_event("am_kill", "0,%d,%s,%d,%s,%lld", (int)victim->pid, name, victim->adj, decision->why, victim->rss_kib);
}

static void tell_system_server(pid_t pid)
{
	char words[32];
	int size = snprintf(words, sizeof(words), "lmkd-kill%c%d", '\0', (int)pid);
	SCOPED_FD server = activity_ask(words, (size_t)size + 1, NULL);

	(void)server;
}

/* Whether there was someone to kill. lmkd frees the memory itself and does not wait for the victim to get the CPU. */
static bool kill_one(const struct decision *decision, long long since_ms)
{
	struct victim victim = find_victim(decision->min_adj);
	SCOPED_FD fd = victim.pid ? sys_pidfd_open(victim.pid) : -1;
	char status[4096];
	long long swap_kib = 0;

	if (fd < 0)
		return false;
	if (read_process(victim.pid, "status", status, sizeof(status)) > 0)
		swap_kib = value_of(status, "VmSwap:");
	tell_system_server(victim.pid);
	log_kill(&victim, decision, swap_kib, since_ms);
	sys_pidfd_send_signal(fd, SIGKILL);
	sys_process_mrelease(fd);
	return true;
}

/* Looks at memory after an event, or again soon after one. Returns the time until it is to look again, in ms. */
static int look_at_memory(int event, long long began_ms)
{
	static long long watermarks_ms;
	long long now = clock_ms(CLOCK_MONOTONIC);
	struct decision decision;

	if (!watermarks_ms || now - watermarks_ms > WATERMARKS_MS) {
		read_watermarks(&memory);
		watermarks_ms = now;
	}
	if (now - last_kill_ms < KILL_PAUSE_MS)
		return POLL_SHORT_MS;
	read_memory(&memory);
	decision = decide(event, now);
	if (decision.reason != NONE && kill_one(&decision, now - began_ms)) {
		last_kill_ms = clock_ms(CLOCK_MONOTONIC);
		killed_since_calm = true;
	} else if (lowest_watermark(&memory) > BELOW_LOW) {
		killed_since_calm = false;
	}
	before = memory;
	return decision.reason != NONE ? POLL_SHORT_MS : POLL_LONG_MS;
}

int main(void)
{
	/* ro.lmk.psi_partial_stall_ms and ro.lmk.psi_complete_stall_ms, within a second. */
	struct pollfd monitors[] = {
		[SOME] = { .fd = monitor("some 70000 1000000"), .events = POLLPRI },
		[FULL] = { .fd = monitor("full 700000 1000000"), .events = POLLPRI },
	};
	long long began_ms = 0;
	int wait_ms = -1;

	mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
	for (;;) {
		long long now;
		int event;

		poll(monitors, COUNT(monitors), wait_ms);
		now = clock_ms(CLOCK_MONOTONIC);
		event = monitors[FULL].revents ? FULL : monitors[SOME].revents ? SOME : NONE;
		if (event != NONE)
			began_ms = now;
		wait_ms = event == NONE && now - began_ms > WINDOW_MS ? -1 : look_at_memory(event, began_ms);
	}
}
