-- Runs a Lua program and its tests in one process, but in two sets of globals. Read from standard
-- input: the secret word, a line, and then the tests. The program gets copies of the libraries without
-- those that look into other code; what it returns reaches the tests as plain data. The word is a
-- local variable that nothing the program can call refers to.
local path, exit = arg[1], os.exit -- luaunit puts another in its place, and reads the arguments
arg = {}
require('luaunit')
local word = io.read('l')
local tests = io.read('a')
local write, real = io.write, string
local getmetatable, setmetatable, type, next, rawset, error = getmetatable, setmetatable, type, next, rawset, error
local pcall, load, select, pack, unpack = pcall, load, select, table.pack, table.unpack
local WRONG, NO_PROGRAM = 3, 4

local file = io.open(path)
local source = file:read('a')
file:close()

-- The program's globals.
local own = {}
for _, name in ipairs { 'assert', 'collectgarbage', 'error', 'getmetatable', 'ipairs', 'next', 'pairs', 'pcall', 'print',
  'rawequal', 'rawget', 'rawlen', 'rawset', 'select', 'setmetatable', 'tonumber', 'tostring', 'type', 'xpcall', 'unpack',
  '_VERSION' } do
  own[name] = _G[name]
end
local loaded = { _G = own }
for _, name in ipairs { 'coroutine', 'io', 'math', 'os', 'string', 'table', 'utf8' } do
  own[name] = {}
  for key, value in pairs(_G[name] or {}) do own[name][key] = value end
  loaded[name] = own[name]
end
own._G = own
own.os.exit = exit
own.debug = { traceback = debug.traceback }
own.package = { loaded = loaded, path = '', cpath = '' }
function own.load(chunk, name, _, env)
  return load(chunk, name, 't', env or own) -- text only: bytecode is not checked
end
function own.require(name)
  if loaded[name] == nil then error("module '" .. tostring(name) .. "' not found") end
  return loaded[name]
end
function own.loadfile(path, _, env)
  local opened, trouble = io.open(path)
  if not opened then return nil, trouble end
  return load(opened:read('a'), path, 't', env or own)
end
function own.dofile(path) return assert(own.loadfile(path))() end

-- Strings and files have one metatable each in a process: it is out of reach, and the program's own
-- additions to `string` are there only while the program runs.
local strings = getmetatable('')
strings.__metatable = false
strings.__index = own.string
getmetatable(io.stdout).__metatable = false

local function run_as_program(f, ...)
  strings.__index = own.string
  local results = pack(pcall(f, ...))
  strings.__index = real
  return results
end

-- A value as data: tables without what their metatables would make of them.
local function plain(value, seen)
  if type(value) ~= 'table' then return value end
  if seen[value] then return seen[value] end
  local copy = {}
  seen[value] = copy
  for key, item in next, value do rawset(copy, plain(key, seen), plain(item, seen)) end
  return copy
end

local name = tests:match('local candidate = ([%a_][%w_]*)')
local program, trouble = load(source .. '\nreturn ' .. name .. '\n', '@program.lua', 't', own)
if not program then
  io.stderr:write(trouble, '\n')
  exit(NO_PROGRAM)
end
local answer = run_as_program(program)
if not answer[1] then
  io.stderr:write(tostring(answer[2]), '\n')
  exit(1)
end
local raised
local function candidate(...)
  local results = run_as_program(answer[2], ...)
  if not results[1] then
    raised = true
    error('the program raised: ' .. (type(results[2]) == 'string' and results[2] or type(results[2])), 0)
  end
  for i = 2, results.n do results[i] = plain(results[i], {}) end
  return unpack(results, 2, results.n)
end

-- The tests end the process by the number of failures; here they return it.
local ending = 'os.exit(lu.LuaUnit.run())'
local at = tests:find(ending, 1, true)
local suite = assert(load('local ' .. name .. ' = ...\n' .. tests:sub(1, at - 1)
  .. 'return lu.LuaUnit.run()' .. tests:sub(at + #ending), '@tests.lua'))
local failures = suite(candidate)
if failures ~= 0 then exit(raised and 1 or WRONG) end
write('\n', word, '\n')
io.stdout:flush()
exit(0)
