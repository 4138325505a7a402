// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "pressure.h"

/* Those that this kernel lacks stay 0. */
static const char *const field_names[FIELDS] = {
	"MemFree:",	 "Cached:",	    "SwapCached:",   "Buffers:",      "Shmem:",
	"Unevictable:",	 "SwapTotal:",	    "SwapFree:",     "Active(anon):", "Inactive(anon):",
	"Active(file):", "Inactive(file):", "SReclaimable:", "SUnreclaim:",   "KernelStack:",
	"PageTables:",	 "IonHeap:",	    "IonHeapPool:",  "CmaFree:",
};

static char proc_text[64 * 1024];

void read_watermarks(struct memory *memory)
{
	static const char *const names[] = { " min ", " low ", " high " };

	if (read_file("/proc/zoneinfo", proc_text, sizeof(proc_text)) < 0)
		return;
	for (size_t i = 0; i < COUNT(names); i++) {
		memory->watermark_kib[i] = 0;
		for (const char *at = proc_text; (at = strstr(at, names[i])); at++)
			memory->watermark_kib[i] += strtoll(at + strlen(names[i]), NULL, 10) * page_kib();
	}
}

void read_memory(struct memory *memory)
{
	if (read_file("/proc/meminfo", proc_text, sizeof(proc_text)) > 0)
		for (int i = 0; i < FIELDS; i++)
			memory->kib[i] = value_of(proc_text, field_names[i]);
	if (read_file("/proc/vmstat", proc_text, sizeof(proc_text)) > 0) {
		memory->refaults = value_of(proc_text, "workingset_refault_file");
		memory->scanned_by_kswapd = value_of(proc_text, "pgscan_kswapd");
		memory->scanned_directly = value_of(proc_text, "pgscan_direct");
	}
}

enum watermark lowest_watermark(const struct memory *memory)
{
	long long free = memory->kib[MEM_FREE] - memory->kib[CMA_FREE];

	for (int i = 0; i < 3; i++)
		if (free < memory->watermark_kib[i])
			return (enum watermark)i;
	return ABOVE_HIGH;
}

/* With zram what is called free swap is not free memory: the least of it and of what can easily be had counts. */
long long free_swap_kib(const struct memory *memory)
{
	long long easy = memory->kib[MEM_FREE] + memory->kib[INACTIVE_FILE], swap = memory->kib[SWAP_FREE];

	return swap < easy ? swap : easy;
}

void add_pressure(struct text *text, const char *path, const char *line)
{
	char content[256];
	const char *at = read_file(path, content, sizeof(content)) > 0 ? strstr(content, line) : NULL;

	at = at ? strstr(at, "avg10=") : NULL;
	if (!at)
		text_add(text, ",0.00");
	else
		text_add(text, ",%.*s", (int)strcspn(at + 6, " \n"), at + 6);
}
