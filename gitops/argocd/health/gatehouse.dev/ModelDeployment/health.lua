-- Health of a ModelDeployment for Argo CD, in the order in which kstatus reads conditions. Argo CD runs it as Lua 5.1
-- with the base and table libraries alone: there is no string library.
local function health(status, message)
  return { status = status, message = message }
end

local function condition(kind)
  for _, each in ipairs((obj.status or {}).conditions or {}) do
    if each.type == kind then
      return each
    end
  end
  return nil
end

local function says(found)
  return found.reason .. ": " .. (found.message or "")
end

local stalled, reconciling, ready = condition("Stalled"), condition("Reconciling"), condition("Ready")
if (obj.status or {}).observedGeneration ~= obj.metadata.generation then
  if reconciling ~= nil and reconciling.status == "True" then
    return health("Progressing", says(reconciling))
  end
  return health("Progressing", "Gatehouse has not reconciled this generation yet")
end
if stalled ~= nil and stalled.status == "True" then
  return health("Degraded", says(stalled))
end
if reconciling ~= nil and reconciling.status == "True" then
  return health("Progressing", says(reconciling))
end
if ready ~= nil and ready.status == "True" then
  return health("Healthy", ready.message)
end
return health("Progressing", ready ~= nil and says(ready) or "Gatehouse has set no condition yet")
