/* SPDX-License-Identifier: Apache-2.0 */
// What lmkd reads before it decides: meminfo, zone watermarks, reclaim counters, pressure.
#pragma once

#include "text.h"

// The fields of meminfo in the order of killinfo's; those that this kernel lacks stay 0.
static const char *const field_names[] = {
	"MemFree:",	 "Cached:",	    "SwapCached:",   "Buffers:",      "Shmem:",
	"Unevictable:",	 "SwapTotal:",	    "SwapFree:",     "Active(anon):", "Inactive(anon):",
	"Active(file):", "Inactive(file):", "SReclaimable:", "SUnreclaim:",   "KernelStack:",
	"PageTables:",	 "IonHeap:",	    "IonHeapPool:",  "CmaFree:",
};

enum {
	MEM_FREE = 0,
	SWAP_TOTAL = 6,
	SWAP_FREE = 7,
	ACTIVE_FILE = 10,
	INACTIVE_FILE = 11,
	CMA_FREE = 18,
	REPORTED_FIELDS = 19
};

enum watermark { BELOW_MIN, BELOW_LOW, BELOW_HIGH, ABOVE_HIGH };

enum reclaim { NO_RECLAIM, KSWAPD_RECLAIM, DIRECT_RECLAIM };

struct memory {
	long kib[REPORTED_FIELDS];
	long watermark_kib[3]; // min, low, high: of all zones
	long refaults, scanned_by_kswapd, scanned_directly;
};

static char proc_text[64 * 1024];

// The value after "\nNAME " or at the text's begin.
static long value_of(const char *text, const char *name)
{
	unsigned long size = length(name);
	for (const char *at = text; (at = find(at, name)); at += size) {
		int whole_word = at[size] == ' ' || name[size - 1] == ':';
		if ((at == text || at[-1] == '\n') && whole_word)
			return leading_number(at + size);
	}
	return 0;
}

static void read_watermarks(struct memory *memory)
{
	static const char *const names[] = { " min ", " low ", " high " };
	if (read_file("/proc/zoneinfo", proc_text, sizeof proc_text) < 0)
		return;
	for (int i = 0; i < 3; i++) {
		memory->watermark_kib[i] = 0;
		for (const char *at = proc_text; (at = find(at, names[i])); at++) {
			memory->watermark_kib[i] += leading_number(at + length(names[i])) * 4;
		}
	}
}

static void read_memory(struct memory *memory)
{
	if (read_file("/proc/meminfo", proc_text, sizeof proc_text) > 0) {
		for (int i = 0; i < REPORTED_FIELDS; i++)
			memory->kib[i] = value_of(proc_text, field_names[i]);
	}
	if (read_file("/proc/vmstat", proc_text, sizeof proc_text) > 0) {
		memory->refaults = value_of(proc_text, "workingset_refault_file");
		memory->scanned_by_kswapd = value_of(proc_text, "pgscan_kswapd");
		memory->scanned_directly = value_of(proc_text, "pgscan_direct");
	}
}

static enum watermark lowest_watermark(const struct memory *memory)
{
	long free = memory->kib[MEM_FREE] - memory->kib[CMA_FREE];
	for (int i = 0; i < 3; i++) {
		if (free < memory->watermark_kib[i])
			return (enum watermark)i;
	}
	return ABOVE_HIGH;
}

// With zram what is called free swap is not free memory: the least of it and of what can easily be had counts.
static long free_swap_kib(const struct memory *memory)
{
	long easy = memory->kib[MEM_FREE] + memory->kib[INACTIVE_FILE], swap = memory->kib[SWAP_FREE];
	return swap < easy ? swap : easy;
}

// "avg10" of the some or full line of /proc/pressure/WHAT, as text.
static void put_pressure(struct text *text, const char *path, const char *line)
{
	char content[256];
	const char *at = read_file(path, content, sizeof content) > 0 ? find(content, line) : 0;
	at = at ? find(at, "avg10=") : 0;
	put(text, ",");
	if (!at)
		put(text, "0.00");
	else
		for (at += 6; *at > ' '; at++)
			put(text, (char[]){ *at, 0 });
}
