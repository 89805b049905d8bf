// The driver's result codes (CUresult) that the stand-in can return.
#pragma once

namespace emulator {

enum Result : int {
  success = 0,
  invalidValue = 1,
  outOfMemory = 2,
  notInitialized = 3,
  noDevice = 100,
  invalidDevice = 101,
  invalidImage = 200,
  invalidContext = 201,
  invalidPTX = 218,
  unsupportedPTXVersion = 222,
  invalidHandle = 400,
  illegalState = 401,
  notFound = 500,
  notReady = 600,
  illegalAddress = 700,
  launchOutOfResources = 701,
  launchTimeout = 702,
  misalignedAddress = 716,
  launchFailed = 719,
  cooperativeLaunchTooLarge = 720,
  notSupported = 801,
  captureUnsupported = 900,
  captureInvalidated = 901,
  captureIsolation = 905,
  captureImplicit = 906,
  capturedEvent = 907,
  captureWrongThread = 908,
};

}  // namespace emulator
