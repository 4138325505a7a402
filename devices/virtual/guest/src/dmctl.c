// SPDX-License-Identifier: Apache-2.0
/* dmctl, with the commands of Android's that a phone's start needs: devices of one line, and where their node is. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dm.h"
#include "guest.h"

enum { BAD_USAGE = 22, REFUSED = 1 };

static _Noreturn void usage(void)
{
	fail(BAD_USAGE, "usage: dmctl create NAME TYPE START SECTORS PARAMETER...\n"
			"       dmctl delete NAME\n"
			"       dmctl getpath NAME\n");
}

static void create(int control, const char *name, char **words, int count)
{
	struct dm_line line = { .start = strtoull(words[1], NULL, 10), .sectors = strtoull(words[2], NULL, 10) };
	const char *step = "";
	struct dm_number made;
	size_t used = 0;

	snprintf(line.type, sizeof(line.type), "%s", words[0]);
	for (int i = 3; i < count && used < sizeof(line.params); i++)
		used += (size_t)snprintf(line.params + used, sizeof(line.params) - used, "%s%s", i > 3 ? " " : "",
					 words[i]);
	if (used >= sizeof(line.params))
		usage();
	if (dm_make(control, name, &line, 1, &made, &step))
		fail(REFUSED, "dmctl: %s %s: %s\n", step, name, strerror(errno));
}

static void get_path(int control, const char *name)
{
	struct dm_number found;

	if (dm_find(control, name, &found))
		fail(REFUSED, "dmctl: %s: %s\n", name, strerror(errno));
	printf("/dev/block/dm-%u\n", found.minor);
}

int main(int argc, char **argv)
{
	SCOPED_FD control = -1;

	if (argc < 3)
		usage();
	control = dm_control();
	if (control < 0)
		fail(REFUSED, "dmctl: no device mapper: %s\n", strerror(errno));
	if (same(argv[1], "create") && argc >= 7)
		create(control, argv[2], argv + 3, argc - 3);
	else if (same(argv[1], "getpath") && argc == 3)
		get_path(control, argv[2]);
	else if (!same(argv[1], "delete") || argc != 3)
		usage();
	else if (dm_remove(control, argv[2]))
		fail(REFUSED, "dmctl: %s: %s\n", argv[2], strerror(errno));
	return 0;
}
