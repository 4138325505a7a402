// SPDX-License-Identifier: Apache-2.0
// lmkd: kills the app that is needed least when memory runs out. It waits for pressure stall events and decides as
// Android's (system/memory/lmkd/lmkd.cpp, mp_event_psi): by zone watermarks, free swap and thrashing of the page cache.
#include "activity.h"
#include "events.h"
#include "pressure.h"

#define APPS "/sys/fs/cgroup/apps"

enum {
	POLL_PRIORITY = 2,
	SOME = 0,
	FULL = 1,
	SIGKILL = 9,
	LOCK_MEMORY = 7,
	POLL_SHORT_MS = 20,
	POLL_LONG_MS = 100,
	WINDOW_MS = 1000,
	KILL_PAUSE_MS = 300,
	WATERMARKS_MS = 60000,
	SWAP_LOW_PERCENT = 10,
	THRASHING_LIMIT = 100,
	ADJ_PERCEPTIBLE = 200
};

// kill_reason in killinfo, as in lmkd's statslog.h.
enum {
	NONE = -1,
	PRESSURE_AFTER_KILL = 0,
	NOT_RESPONDING = 1,
	LOW_SWAP_AND_THRASHING = 2,
	LOW_MEM_AND_SWAP = 3,
	LOW_MEM_AND_THRASHING = 4,
	DIRECT_RECLAIM_AND_THRASHING = 5
};

struct poll_entry {
	int fd;
	short events, got;
};

struct entry {
	unsigned long inode, offset;
	unsigned short size;
	unsigned char type;
	char name[];
};

struct victim {
	int pid, uid, adj;
	long rss;
};

struct decision {
	int reason, min_adj;
	long thrashing;
	struct text why;
};

static struct memory memory, before;
static long base_refaults, base_file_pages, window_began_ms, last_kill_ms;
static int killed_since_calm;

static long monitor(const char *trigger)
{
	long fd = KERNEL(SYS_open, "/proc/pressure/memory", O_READ_WRITE | O_CLOSE_ON_EXEC, 0);
	if (fd < 0 || KERNEL(SYS_write, fd, trigger, length(trigger) + 1) < 0)
		fail("lmkd: no pressure stall events\n", 1);
	return fd;
}

// How much of the page cache was read again since the window began, in percent.
static long thrashing(long now)
{
	long percent = (memory.refaults - base_refaults) * 100 / (base_file_pages + 1);
	if (now - window_began_ms < WINDOW_MS)
		return percent;
	window_began_ms = now;
	base_refaults = memory.refaults;
	base_file_pages = (memory.kib[ACTIVE_FILE] + memory.kib[INACTIVE_FILE]) / 4;
	return 0;
}

static enum reclaim reclaim_state(void)
{
	if (memory.scanned_directly != before.scanned_directly)
		return DIRECT_RECLAIM;
	return memory.scanned_by_kswapd != before.scanned_by_kswapd ? KSWAPD_RECLAIM : NO_RECLAIM;
}

static void say_swap(struct text *why, const char *begin, long free, long low)
{
	put(put_number(put(why, begin), free), "kB < ");
	put(put_number(why, low), "kB)");
}

static void decide(struct decision *decision, int event, long now)
{
	enum watermark mark = lowest_watermark(&memory);
	enum reclaim reclaim = reclaim_state();
	long thrashed = thrashing(now), free = free_swap_kib(&memory);
	long low = memory.kib[SWAP_TOTAL] * SWAP_LOW_PERCENT / 100;
	int swap_is_low = free < low;
	*decision = (struct decision){ .reason = NONE, .thrashing = thrashed };
	if (reclaim == NO_RECLAIM && memory.refaults == before.refaults)
		return;
	const char *breached = mark == BELOW_MIN ? "min" : "low";
	if (killed_since_calm && mark == BELOW_MIN) {
		decision->reason = PRESSURE_AFTER_KILL;
		put(&decision->why, "min watermark is breached even after kill");
	} else if (event == FULL) {
		decision->reason = NOT_RESPONDING;
		put(&decision->why, "device is not responding");
	} else if (swap_is_low && thrashed > THRASHING_LIMIT) {
		decision->reason = LOW_SWAP_AND_THRASHING;
		say_swap(&decision->why, "device is low on swap (", free, low);
		put(put_number(put(&decision->why, " and thrashing ("), thrashed), "%)");
	} else if (swap_is_low && mark < ABOVE_HIGH) {
		decision->reason = LOW_MEM_AND_SWAP;
		say_swap(put(&decision->why, breached), " watermark is breached and swap is low (", free, low);
	} else if (mark < ABOVE_HIGH && thrashed > THRASHING_LIMIT) {
		decision->reason = LOW_MEM_AND_THRASHING;
		put(put_number(put(put(&decision->why, breached), " watermark is breached and thrashing ("), thrashed),
		    "%)");
	} else if (reclaim == DIRECT_RECLAIM && thrashed > THRASHING_LIMIT) {
		decision->reason = DIRECT_RECLAIM_AND_THRASHING;
		put(put_number(put(&decision->why, "device is in direct reclaim and thrashing ("), thrashed), "%)");
	}
	// What the user perceives is spared unless there is no memory at all.
	int spare = decision->reason >= LOW_SWAP_AND_THRASHING && mark > BELOW_MIN && thrashed < 2 * THRASHING_LIMIT;
	decision->min_adj = spare ? ADJ_PERCEPTIBLE + 1 : 0;
}

static void consider(struct victim *best, int uid, int pid, int min_adj)
{
	char text[32];
	if (read_process(pid, "oom_score_adj", text, sizeof text) <= 0)
		return;
	struct victim one = { pid, uid, (int)leading_number(text), rss_kib(pid) };
	if (one.adj < min_adj || !one.rss)
		return;
	if (!best->pid || one.adj > best->adj || (one.adj == best->adj && one.rss > best->rss))
		*best = one;
}

// Calls `consider` for each pid_P of a uid_U, or looks into each uid_U when `uid` is 0.
static void look(struct victim *best, const char *folder, int uid, int min_adj)
{
	char entries[4096];
	long fd = KERNEL(SYS_open, folder, O_READ | O_CLOSE_ON_EXEC, 0), got;
	const char *prefix = uid ? "pid_" : "uid_";
	while (fd >= 0 && (got = KERNEL(SYS_getdents64, fd, entries, sizeof entries)) > 0) {
		for (long at = 0; at < got; at += ((struct entry *)(entries + at))->size) {
			const char *name = ((struct entry *)(entries + at))->name;
			if (find(name, prefix) != name)
				continue;
			int id = (int)number(name + length(prefix));
			struct text below = { 0 };
			put(put(put(&below, folder), "/"), name);
			if (uid)
				consider(best, uid, id, min_adj);
			else
				look(best, below.is, id, min_adj);
		}
	}
	if (fd >= 0)
		KERNEL(SYS_close, fd, 0, 0);
}

static void log_kill(const struct victim *victim, const struct decision *decision, long swap_kib, long since_ms)
{
	struct text info = { 0 }, event = { 0 };
	char name[128];
	const long fields[] = {
		victim->pid, victim->uid, victim->adj, decision->min_adj, victim->rss, decision->reason
	};
	for (int i = 0; i < 6; i++)
		put_number(put(&info, i ? "," : ""), fields[i]);
	for (int i = 0; i < REPORTED_FIELDS; i++)
		put_number(put(&info, ","), memory.kib[i]);
	// since the event, since the last wake-up, wake-ups, skipped ones; swapped size, GPU, thrashing and its maximum
	put(put_number(put(&info, ","), since_ms), ",0,1,0,");
	put(put_number(&info, swap_kib), ",0,");
	put_number(put(put_number(&info, decision->thrashing), ","), decision->thrashing);
	put_pressure(&info, "/proc/pressure/memory", "some");
	put_pressure(&info, "/proc/pressure/memory", "full");
	put_pressure(&info, "/proc/pressure/io", "some");
	put_pressure(&info, "/proc/pressure/io", "full");
	put_pressure(&info, "/proc/pressure/cpu", "some");
	log_event("killinfo", &info);
	if (read_process(victim->pid, "cmdline", name, sizeof name) <= 0)
		name[0] = 0;
	put(put(put_number(put(&event, "0,"), victim->pid), ","), name);
	put(put(put_number(put(&event, ","), victim->adj), ","), decision->why.is);
	log_event("am_kill", put_number(put(&event, ","), victim->rss));
}

static void tell_system_server(int pid)
{
	struct text words = { 0 };
	put_number(put(&words, "lmkd-kill "), pid);
	words.is[9] = 0;
	long server = ask_activity(words.is, words.used + 1, 0);
	if (server >= 0)
		KERNEL(SYS_close, server, 0, 0);
}

// Whether there was someone to kill. lmkd frees the memory itself and does not wait for the victim to get the CPU.
static int kill_one(const struct decision *decision, long since_ms)
{
	struct victim victim = { 0 };
	char status[4096];
	look(&victim, APPS, 0, decision->min_adj);
	long fd = victim.pid ? KERNEL(SYS_pidfd_open, victim.pid, 0, 0) : -1;
	if (fd < 0)
		return 0;
	long read = read_process(victim.pid, "status", status, sizeof status);
	tell_system_server(victim.pid);
	log_kill(&victim, decision, read > 0 ? value_of(status, "VmSwap:") : 0, since_ms);
	kernel(SYS_pidfd_send_signal, fd, SIGKILL, 0, 0, 0, 0);
	KERNEL(SYS_process_mrelease, fd, 0, 0);
	KERNEL(SYS_close, fd, 0, 0);
	return 1;
}

// Looks at memory after an event, or again soon after one. Returns the time until it is to look again, in ms.
static int look_at_memory(int event, long began_ms)
{
	static struct decision decision;
	long now = clock_ms(CLOCK_MONOTONIC);
	static long watermarks_ms;
	if (!watermarks_ms || now - watermarks_ms > WATERMARKS_MS)
		read_watermarks(&memory), watermarks_ms = now;
	if (now - last_kill_ms < KILL_PAUSE_MS)
		return POLL_SHORT_MS;
	read_memory(&memory);
	decide(&decision, event, now);
	if (decision.reason != NONE && kill_one(&decision, now - began_ms)) {
		last_kill_ms = clock_ms(CLOCK_MONOTONIC);
		killed_since_calm = 1;
	} else if (lowest_watermark(&memory) > BELOW_LOW) {
		killed_since_calm = 0;
	}
	before = memory;
	return decision.reason != NONE ? POLL_SHORT_MS : POLL_LONG_MS;
}

_Noreturn void start(int argc, char **argv, char **environment)
{
	(void)argc, (void)argv, (void)environment;
	// ro.lmk.psi_partial_stall_ms and ro.lmk.psi_complete_stall_ms, within a second.
	struct poll_entry monitors[] = { { (int)monitor("some 70000 1000000"), POLL_PRIORITY, 0 },
					 { (int)monitor("full 700000 1000000"), POLL_PRIORITY, 0 } };
	KERNEL(SYS_mlockall, LOCK_MEMORY, 0, 0);
	for (long began = 0, wait = -1;;) {
		KERNEL(SYS_poll, monitors, 2, wait);
		long now = clock_ms(CLOCK_MONOTONIC);
		int event = monitors[FULL].got ? FULL : monitors[SOME].got ? SOME : NONE;
		if (event != NONE)
			began = now;
		wait = event == NONE && now - began > WINDOW_MS ? -1 : look_at_memory(event, began);
	}
}
