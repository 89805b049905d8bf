#if Server
  import NIOSSL
  import Synchronization

  /// The certificate that new connections present.
  final class CertificateStore: Sendable {
    private let certificatePath: String
    private let keyPath: String
    private let current: Mutex<NIOSSLContext>

    /// - Parameters:
    ///   - certificatePath: a PEM file with the certificate and those that vouch for it.
    ///   - keyPath: a PEM file with the certificate's private key.
    init(certificatePath: String, keyPath: String) throws {
      self.certificatePath = certificatePath
      self.keyPath = keyPath
      current = Mutex(try Self.load(certificatePath, keyPath))
    }

    var context: NIOSSLContext { current.withLock { $0 } }

    /// Reads the files again. If that fails, the certificate stays.
    func reload() throws {
      let context = try Self.load(certificatePath, keyPath)
      current.withLock { $0 = context }
    }

    private static func load(_ certificatePath: String, _ keyPath: String) throws -> NIOSSLContext {
      let chain: [NIOSSLCertificateSource]
      let key: NIOSSLPrivateKey
      do {
        chain = try NIOSSLCertificate.fromPEMFile(certificatePath).map { .certificate($0) }
        guard !chain.isEmpty else { throw ServerStartError("\(certificatePath) has no certificate") }
      } catch let error as ServerStartError {
        throw error
      } catch {
        throw ServerStartError("\(certificatePath) is not readable as certificates; expected a PEM file: \(error)")
      }
      do {
        key = try NIOSSLPrivateKey(file: keyPath, format: .pem)
      } catch {
        throw ServerStartError("\(keyPath) is not readable as a private key; expected a PEM file: \(error)")
      }
      do {
        var configuration = TLSConfiguration.makeServerConfiguration(
          certificateChain: chain, privateKey: .privateKey(key))
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        return try NIOSSLContext(configuration: configuration)
      } catch {
        throw ServerStartError("\(keyPath) is not the private key of \(certificatePath): \(error)")
      }
    }
  }
#endif
