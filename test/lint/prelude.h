/*
 * prelude.h: what cppcheck has to know of PostgreSQL, which it does not read:
 * which reports do not come back.
 */
extern void exit(int code);

#define DEBUG1 14
#define LOG 15
#define INFO 17
#define NOTICE 18
#define WARNING 19
#define ERROR 21
#define FATAL 22
#define PANIC 23
#define ereport(level, ...) do { if ((level) >= ERROR) exit(1); } while (0)
#define elog(level, ...) do { if ((level) >= ERROR) exit(1); } while (0)
#define Assert(condition) do { if (!(condition)) exit(1); } while (0)
#define bool _Bool
#define true 1
#define false 0
