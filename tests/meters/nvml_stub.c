/* A stand-in for libnvidia-ml.so.1 that answers from the file named by NVML_STUB.
 *
 * The file has one line of key=value pairs for the library, then one for each device:
 *
 *   library init=0 count=2 hang=0 lost_init=0
 *   gpu name=Tesla uuid=GPU-1 energy=1000 power=50000 limit=300000 mig=0 fail=0 handle=0 users=4711:30:5 holders=4711
 *
 * energy in mJ and power in mW, -1 where not supported; fail is the return code of both; handle that of the handle;
 * users are pid:percent:timestamp_us, holders pids with a context. While hang=1, every call waits.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { MOST = 16, LINE = 4096, FIELD_INSTANT = 186 };

typedef struct {
  unsigned pid;
  unsigned long long timestamp;
  unsigned sm, mem, enc, dec;
} utilisation_t;

typedef struct {
  unsigned pid;
  unsigned long long memory;
  unsigned gpu_instance, compute_instance;
} process_t;

typedef struct {
  uint32_t field, scope;
  int64_t timestamp, latency;
  int type, code;
  union {
    double d;
    unsigned ui;
    unsigned long long ull;
  } value;
} field_t;

static int handles[MOST];
static pid_t initialised_in;
static int references;

static int line_of(int wanted, char *line) {
  FILE *file = fopen(getenv("NVML_STUB"), "r");
  int place = -1;
  if (!file) return 0;
  while (fgets(line, LINE, file))
    if (place++ == wanted - 1) {
      fclose(file);
      return 1;
    }
  fclose(file);
  return 0;
}

static int text_of(int wanted, const char *key, char *value, int size) {
  char line[LINE], pattern[64], *start;
  if (!line_of(wanted, line)) return 0;
  snprintf(pattern, sizeof pattern, " %s=", key);
  if (!(start = strstr(line, pattern))) return 0;
  start += strlen(pattern);
  snprintf(value, size, "%.*s", (int)strcspn(start, " \n"), start);
  return 1;
}

static long long number_of(int wanted, const char *key, long long otherwise) {
  char value[LINE];
  return text_of(wanted, key, value, sizeof value) ? atoll(value) : otherwise;
}

static int enter(void) {
  while (number_of(0, "hang", 0)) usleep(2000);
  return references && initialised_in == getpid() ? SUCCESS : UNINITIALIZED;
}

static int of_device(const int *handle, int *device) {
  int code = enter();
  if (code) return code;
  if (handle < handles || handle >= handles + MOST) return INVALID_ARGUMENT;
  *device = (int)(handle - handles) + 1;
  return (int)number_of(*device, "fail", SUCCESS);
}

int nvmlInitWithFlags(unsigned flags) {
  int code;
  (void)flags;
  while (number_of(0, "hang", 0)) usleep(2000);
  if ((code = (int)number_of(0, "init", SUCCESS))) return code;
  if (initialised_in != getpid()) references = 0;
  initialised_in = getpid();
  references++;
  return SUCCESS;
}

int nvmlShutdown(void) {
  int code = enter();
  if (!code) references--;
  return code;
}

const char *nvmlErrorString(int code) {
  static char text[64];
  snprintf(text, sizeof text, "code %d", code);
  return text;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
  int code = enter();
  *count = (unsigned)number_of(0, "count", 0);
  return code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, int **handle) {
  int code = enter();
  if (code) return code;
  *handle = &handles[index];
  return (int)number_of((int)index + 1, "handle", SUCCESS);
}

static int text_query(const int *handle, const char *key, char *value, unsigned size) {
  int device, code = of_device(handle, &device);
  if (code) return code;
  return text_of(device, key, value, (int)size) ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetUUID(const int *handle, char *value, unsigned size) { return text_query(handle, "uuid", value, size); }
int nvmlDeviceGetName(const int *handle, char *value, unsigned size) { return text_query(handle, "name", value, size); }

static int number_query(const int *handle, const char *key, long long *value) {
  int device, code = of_device(handle, &device);
  if (code) return code;
  *value = number_of(device, key, -1);
  return *value < 0 ? NOT_SUPPORTED : SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(const int *handle, unsigned long long *millijoules) {
  long long value;
  int code = number_query(handle, "energy", &value);
  *millijoules = (unsigned long long)value;
  return code;
}

static int unsigned_query(const int *handle, const char *key, unsigned *answer) {
  long long value;
  int code = number_query(handle, key, &value);
  *answer = (unsigned)value;
  return code;
}

int nvmlDeviceGetPowerUsage(const int *handle, unsigned *milliwatts) { return unsigned_query(handle, "power", milliwatts); }
int nvmlDeviceGetEnforcedPowerLimit(const int *handle, unsigned *limit) { return unsigned_query(handle, "limit", limit); }

int nvmlDeviceGetMigMode(const int *handle, unsigned *current, unsigned *pending) {
  int code = unsigned_query(handle, "mig", current);
  *pending = *current;
  return code;
}

int nvmlDeviceGetFieldValues(const int *handle, int count, field_t *values) {
  int device, code = of_device(handle, &device);
  for (int place = 0; !code && place < count; place++) {
    long long value = number_of(device, "scope_gpu", -1);
    values[place].code = value < 0 || values[place].field != FIELD_INSTANT ? NOT_SUPPORTED : SUCCESS;
    values[place].value.ui = (unsigned)value;
  }
  return code;
}

int nvmlDeviceGetProcessUtilization(const int *handle, utilisation_t *samples, unsigned *count, unsigned long long since) {
  int device, code = of_device(handle, &device);
  char list[LINE], *next;
  unsigned found = 0, room = samples ? *count : 0;
  if (code) return code;
  if (!text_of(device, "users", list, sizeof list)) return NOT_SUPPORTED;
  for (char *one = strtok_r(list, ",", &next); one; one = strtok_r(NULL, ",", &next)) {
    utilisation_t sample = {0};
    if (sscanf(one, "%u:%u:%llu", &sample.pid, &sample.sm, &sample.timestamp) != 3) continue;
    if (sample.timestamp <= since) continue;
    if (found < room) samples[found] = sample;
    found++;
  }
  *count = found;
  if (!found) return NOT_FOUND;
  return found <= room ? SUCCESS : INSUFFICIENT_SIZE;
}

int nvmlDeviceGetComputeRunningProcesses_v3(const int *handle, unsigned *count, process_t *processes) {
  int device, code = of_device(handle, &device);
  char list[LINE], *next;
  unsigned found = 0, room = processes ? *count : 0;
  if (code) return code;
  if (!text_of(device, "holders", list, sizeof list)) return NOT_SUPPORTED;
  for (char *one = strtok_r(list, ",", &next); one; one = strtok_r(NULL, ",", &next)) {
    if (found < room) {
      memset(&processes[found], 0, sizeof processes[found]);
      processes[found].pid = (unsigned)atoi(one);
    }
    found++;
  }
  *count = found;
  return found <= room ? SUCCESS : INSUFFICIENT_SIZE;
}

int stub_references(void) { return references; }
